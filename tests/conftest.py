"""Shape and type checks on every function of the library, strict JAX, and shared fixtures."""

import os
import signal
import tempfile
from pathlib import Path

from jaxtyping import install_import_hook

# Programs of tests run for milliseconds; most of the time goes to compiling them. Without fusion
# emitters that takes half the time. XLA knows these flags as of jax 0.10; one that it does not know
# stops it with a message that names the flag, which can go then.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false"
)

# Many tests compile what others did. Each worker has a folder of its own, since what one is writing
# the other one must not read.
CACHE = tempfile.TemporaryDirectory(prefix="compiled")
os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

# Before anything imports the library.
install_import_hook("audioslots_jax", "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402

from tests.tiny import get_config as get_tiny_config  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# A shell has what it runs in the background ignore Ctrl-C, and so would processes of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Files that wait for many processes; begun first, they leave no worker to end alone.
FIRST = ("test_main.py", "test_clusters.py", "test_colab.py", "test_tutorial.py")


def pytest_collection_modifyitems(items):
    """Puts the tests of long files before all others."""
    items.sort(key=lambda item: item.path.name not in FIRST)


@pytest.fixture(scope="session")
def speech() -> Path:
    """A folder with real speech: ``speakers/{train,dev}``, ``librimix`` and ``libri3mix``."""
    folder = os.environ.get("AUDIOSLOTS_DATA")
    if not folder:
        pytest.skip(
            "needs real speech: set AUDIOSLOTS_DATA to a folder with speakers/, librimix/ and "
            "libri3mix/"
        )
    return Path(folder)


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Of processes: a compilation cache that starts empty, shared by all tests."""
    return {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "JAX_PLATFORMS": "cpu",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture(scope="session")
def bare(environment, tmp_path_factory):
    """The same for processes that find no TensorFlow, which they start without in half the time."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "sitecustomize.py").write_text(
        "import sys\nfrom importlib.machinery import PathFinder\n"
        "class Without(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        if name.split('.')[0] not in ('tensorflow', 'clu', 'tensorflow_datasets'):\n"
        "            return super().find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Without\n"
    )
    return {**environment, "PYTHONPATH": str(folder)}


@pytest.fixture
def tiny():
    """The config of a training that takes seconds; a test may change it."""
    return get_tiny_config()
