"""What XLA compiles: kept for the next process, and how long it takes in this one."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from audioslots_jax.progress import waiting

CACHE = Path.home() / ".cache" / "audioslots_jax" / "xla"
# Seconds for an assignment in a program's text, by experiments/compile_time, which measured none on
# accelerators. Where parameters are drawn, each takes longer than in steps and evaluations.
STEP, INIT = 1.1e-3, 2.3e-3


def keep_compiled() -> None:
    """Keeps compiled programs in `CACHE`, unless ``JAX_COMPILATION_CACHE_DIR`` names a folder."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(CACHE))


def expected_seconds(program: jax.stages.Lowered, assignment: float) -> float | None:
    """Returns about how long XLA takes for a program that it has not kept; None if not known.

    Args:
      program: lowered, and not compiled yet.
      assignment: seconds for each one in its text, `STEP` or `INIT`.
    """
    if jax.default_backend() != "cpu":
        return None
    return assignment * program.as_text().count(" = ")


def announced(function: Any, what: str) -> Callable[..., Any]:
    """Returns a jitted function whose first call says, while XLA compiles it, what takes so long.

    Args:
      function: made by `jax.jit`.
      what: the first call does, as `waiting` takes it.
    """
    compiled = False

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        nonlocal compiled
        if compiled:
            return function(*args)
        compiled = True
        with waiting(what) as expect:
            expect(expected_seconds(function.lower(*args), STEP))
            return function(*args)

    return call
