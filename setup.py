"""Packaging; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.*)"', (HERE / "audioslots_jax" / "__init__.py").read_text()
).group(1)

setup(
    name="audioslots_jax",
    version=VERSION,
    description="AudioSlots in JAX: slot-based separation of sound sources",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["audioslots_jax", "audioslots_jax.*"]),
    package_data={
        "audioslots_jax": ["py.typed", "data/checksums.tsv", "lens/page.*", "weights/*/*"]
    },
    entry_points={"console_scripts": ["audioslots = audioslots_jax.cli:main"]},
    python_requires=">=3.11",
    install_requires=[
        "absl-py",
        "clu>=0.0.12",
        "flax>=0.12",
        "jax>=0.10",
        "jaxtyping>=0.3",
        "jinja2>=3.1",
        "matplotlib",
        "ml_collections>=1.1",
        "numpy>=2",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12",
        "pillow",
        "pyloudnorm>=0.2",
        "scipy",
        "soundfile>=0.13",
        "soxr>=1.0",
        "tensorboard",
        # The input pipeline alone uses TensorFlow; its CPU build is half the size.
        "tensorflow-cpu>=2.21; platform_machine in 'x86_64 AMD64'",
        "tensorflow>=2.21; platform_machine not in 'x86_64 AMD64'",
        "tensorflow-datasets>=4.9.10",
        "tqdm",
    ],
    extras_require={
        "cuda": ["jax[cuda]>=0.10"],
        "tpu": ["jax[tpu]>=0.10"],
        # What the command `tfds` of TFDS 4.9.10 imports and does not require.
        "tfds": ["apache-beam", "mlcroissant"],
        "test": [
            "beartype",
            "fast_bss_eval",
            "hypothesis",
            "ipykernel",
            "mypy",
            "nbclient",
            "nbformat",
            "pytest",
            "pytest-xdist",
            "ruff",
            "websocket-client",
        ],
    },
)
