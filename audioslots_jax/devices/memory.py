"""Memory of steps on a CPU, which is given back and asked for again with every buffer."""

import ctypes
import importlib.util

# Of mallopt(3). Threads share one arena, for only the first one may grow without end.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
KEEP = {TRIM_THRESHOLD: -1, MMAP_MAX: 0, ARENA_MAX: 1}  # -1 is never
ACCELERATORS = ("jax_plugins", "libtpu")


def keep_freed_memory() -> bool:
    """Makes the C library keep memory that XLA frees, for what it allocates next.

    Otherwise every large buffer of a step is mapped anew, and the kernel fills it with zeros, page
    by page; `experiments/cpu_memory` says what that takes. Call it before JAX starts its threads.
    It changes nothing where the C library is not glibc, or JAX has plugins for accelerators.

    Returns:
      Whether memory is kept.
    """
    if any(importlib.util.find_spec(name) for name in ACCELERATORS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all([mallopt(parameter, value) == 1 for parameter, value in KEEP.items()])
