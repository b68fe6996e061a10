"""What every data set is: a rule from (seed, step) to a batch of sources.

A mixture is the sum of its sources, so data sets deliver the sources alone and the mixture is
summed on the device. The rule is a pure function of its arguments (and of the recordings on disk):
the same on every host, for any number of workers and after any restart.
"""

import abc
import functools
import hashlib
import zlib
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int


@runtime_checkable
class Mixtures(Protocol):
    """A data set of two or more sources to be mixed."""

    sample_rate: int
    samples: int
    sources: int

    def batch(
        self, seed: int, step: int, rows: range, batch_size: int
    ) -> Float32[np.ndarray, "row source sample"]:
        """Sources at the level they are mixed with.

        Args:
          seed: of the training's random choices.
          step: whose batch it is.
          rows: of that batch; each host asks for its own.
          batch_size: rows of the whole batch.
        """


class RowByRow(abc.ABC):
    """A data set that makes its rows one at a time."""

    @abc.abstractmethod
    def example(self, seed: int, step: int, row: int) -> Float32[np.ndarray, "source sample"]:
        """The sources of one row of the batch of ``step``."""

    def batch(
        self, seed: int, step: int, rows: range, batch_size: int
    ) -> Float32[np.ndarray, "row source sample"]:
        """See `Mixtures`."""
        return np.stack([self.example(seed, step, row) for row in rows])


# A training's seed is below this one, which addresses held-out mixtures.
HELD_OUT_SEED = 2**32 - 1


def random_generator(purpose: str, *address: int) -> np.random.Generator:
    """A random generator that depends on its purpose and address alone.

    Args:
      purpose: what is drawn; different purposes have unrelated streams.
      *address: numbers below 2**32, as many for every use of a purpose.
    """
    return np.random.default_rng((zlib.crc32(purpose.encode()), *address))


def uniforms(
    purpose: str, seed: int, examples: range, count: int
) -> Float64[np.ndarray, "example draw"]:
    """Numbers in [0, 1) that depend on purpose, seed and the number of the example alone.

    Args:
      purpose: what is drawn; different purposes have unrelated streams.
      seed: of the training.
      examples: which examples they are for, in one go.
      count: numbers for each example, at most 4.
    """
    # Each value of a Philox generator's counter gives four numbers: those of one example.
    key = np.array([zlib.crc32(purpose.encode()), seed], np.uint64)
    random = np.random.Generator(np.random.Philox(key=key, counter=examples.start))
    return random.random((len(examples), 4))[:, :count]


def epoch_order(
    purpose: str, seed: int, examples: range, count: int
) -> Int[np.ndarray, " example"]:
    """Which of ``count`` items each example takes: all of them in every epoch, in a new order.

    Args:
      purpose: as for `uniforms`.
      seed: of the training.
      examples: which examples.
      count: number of items.
    """
    epochs, places = np.divmod(np.arange(examples.start, examples.stop), count)
    order = np.empty(len(examples), np.int64)
    for epoch in np.unique(epochs):
        now = epochs == epoch
        order[now] = _permutation(purpose, seed, int(epoch), count)[places[now]]
    return order


@functools.lru_cache(maxsize=4)
def _permutation(purpose: str, seed: int, epoch: int, count: int) -> Int[np.ndarray, " item"]:
    return random_generator(purpose, seed, epoch).permutation(count)


def fingerprint(parts: Iterable[object]) -> str:
    """A short text that differs for different parts, and is the same in every process."""
    digest = hashlib.sha256()
    for part in sorted(map(repr, parts)):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


def decibels(level: float) -> float:
    """The amplitude factor of a level in dB."""
    return 10.0 ** (level / 20.0)
