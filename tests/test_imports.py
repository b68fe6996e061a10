"""What an import costs: run in fresh interpreters."""

import subprocess
import sys

import pytest

MODULES = [
    "audioslots_jax",
    "audioslots_jax.data",
    "audioslots_jax.training.step",
    "audioslots_jax.training.evaluation",
    "audioslots_jax.training.checkpoints",
    "audioslots_jax.training.loop",
    "audioslots_jax.doctor",
]


@pytest.mark.parametrize("module", MODULES)
def test_no_tensorflow(module):
    program = (
        f"import sys, {module}; heavy = {{'tensorflow', 'tensorboard', 'clu'}} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
