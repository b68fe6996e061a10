"""What every data set is: a rule from (seed, step) to a batch of sources.

A mixture is the sum of its sources, so data sets deliver the sources alone and the mixture is
summed on the device. The rule is a pure function of its arguments (and of the recordings on disk):
the same on every host, for any number of workers and after any restart.
"""

import hashlib
import zlib
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32


@runtime_checkable
class Mixtures(Protocol):
    """A data set of two or more sources to be mixed."""

    sample_rate: int
    samples: int
    sources: int

    def example(self, seed: int, step: int, row: int) -> Float32[np.ndarray, "source sample"]:
        """The sources of one row of the batch of ``step``, at the level they are mixed with."""


def batch(
    mixtures: Mixtures, seed: int, step: int, rows: range
) -> Float32[np.ndarray, "row source sample"]:
    """The sources of the given rows of the batch of ``step``; each host asks for its own rows."""
    return np.stack([mixtures.example(seed, step, row) for row in rows])


# A training's seed is below this one, which addresses held-out mixtures.
HELD_OUT_SEED = 2**32 - 1


def random_generator(purpose: str, *address: int) -> np.random.Generator:
    """A random generator that depends on its purpose and address alone.

    Args:
      purpose: what is drawn; different purposes have unrelated streams.
      *address: numbers below 2**32, as many for every use of a purpose.
    """
    return np.random.default_rng((zlib.crc32(purpose.encode()), *address))


def fingerprint(parts: Iterable[object]) -> str:
    """A short text that differs for different parts, and is the same in every process."""
    digest = hashlib.sha256()
    for part in sorted(map(repr, parts)):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


def decibels(level: float) -> float:
    """The amplitude factor of a level in dB."""
    return 10.0 ** (level / 20.0)
