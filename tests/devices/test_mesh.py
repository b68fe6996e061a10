"""How steps are divided over eight devices, which are those of another process."""

import json
import subprocess
import sys

import pytest

from audioslots_jax.devices.mesh import SMALLEST
from tests.processes import ROOT


def divided(environment, *arguments):
    result = subprocess.run(
        [sys.executable, "-m", "tests.devices.eight_devices", *arguments], cwd=ROOT,
        env={**environment, "JAX_NUM_CPU_DEVICES": "8"}, text=True, capture_output=True, check=True,
    )  # fmt: skip
    return json.loads(result.stdout)


@pytest.mark.parametrize("solver", ["scipy", "exhaustive"])
def test_data_parallel_steps_gather_nothing(environment, solver):
    """Each device matches its two of sixteen rows; nothing but gradients is summed."""
    found = divided(environment, "data", solver)
    assert found["collectives"] == ["all-reduce"]
    assert found["called_with"] == ([[2, 2, 2]] if solver == "scipy" else [])
    assert found["on_each"] == sum(found["whole"])


def test_large_arrays_are_divided(environment):
    """Parameters and both moments of each."""
    found = divided(environment, "fsdp", "exhaustive")
    large = [size for size in found["whole"] if size >= SMALLEST]
    assert len(large) >= 3 * 2
    assert found["on_each"] == sum(found["whole"]) - sum(large) * 7 // 8
