"""What a process keeps of the memory that it frees."""

import importlib.util
import platform
import resource
import subprocess
import sys

import pytest

from audioslots_jax.devices import memory

ACCELERATORS = [name for name in memory.ACCELERATORS if importlib.util.find_spec(name)]

# The steps of a training, as far as the allocator sees them; prints page faults in each.
PROGRAM = """
import resource, statistics
from audioslots_jax.devices.memory import keep_freed_memory
kept = keep_freed_memory()
import jax, jax.numpy as jnp
grow = jax.jit(lambda x: jnp.sin(x) + 1)
x = grow(jnp.zeros((2**22,)))  # 16 MiB
faults = []
for _ in range(48):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x = jax.block_until_ready(grow(x))
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(kept, int(statistics.median(faults[32:])))  # once what is kept is enough
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
@pytest.mark.skipif(ACCELERATORS != [], reason="of machines without accelerators")
def test_buffers_of_a_step_are_not_mapped_anew(environment):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    kept, faults = result.stdout.split()
    pages = 2**24 // resource.getpagesize()
    assert (kept, int(faults) < pages / 10) == ("True", True)
