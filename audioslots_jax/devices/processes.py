"""What the processes of a run decide together; a process that is alone decides by itself."""

import json
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from audioslots_jax.errors import UserError

Result = TypeVar("Result")


def together(function: Callable[[], Result]) -> Result:
    """Returns what ``function`` does; an error that one process meets ends all of them.

    Raises:
      UserError: of this process, or that another one has met one.
    """
    try:
        result = function()
    except BaseException:  # whatever it was, the others must not wait for this process
        _any(True)
        raise
    if _any(False):
        raise UserError("another process of this run could not start; see what it said.")
    return result


def agree(value: Any) -> bool:
    """Returns whether all processes have the same value, of what JSON can hold."""
    digest = np.uint32(zlib.crc32(json.dumps(value, sort_keys=True).encode()))
    return len(set(np.atleast_1d(_gathered(digest)).tolist())) == 1


def _any(value: bool) -> bool:
    return bool(np.any(_gathered(np.bool_(value))))


def _gathered(value: np.generic) -> Any:
    return multihost_utils.process_allgather(value) if jax.process_count() > 1 else value
