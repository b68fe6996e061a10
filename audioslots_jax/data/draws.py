"""Random draws that depend on what they are for alone: the same in every process and run."""

import functools
import zlib

import numpy as np
from jaxtyping import Float64, Int


def random_generator(purpose: str, *address: int) -> np.random.Generator:
    """Returns a random generator that depends on its purpose and address alone.

    An address is of numbers below 2**32, as many for every use of a purpose.
    """
    return np.random.default_rng((zlib.crc32(purpose.encode()), *address))


def uniforms(
    purpose: str, seed: int, examples: range, count: int
) -> Float64[np.ndarray, "example draw"]:
    """Returns numbers in [0, 1), at most 4 for each of the examples with these numbers.

    They depend on purpose, seed and the example's number alone.
    """
    # Each value of a Philox generator's counter gives four numbers: those of one example.
    key = np.array([zlib.crc32(purpose.encode()), seed], np.uint64)
    random = np.random.Generator(np.random.Philox(key=key, counter=examples.start))
    return random.random((len(examples), 4))[:, :count]


def epoch_order(
    purpose: str, seed: int, examples: range, count: int
) -> Int[np.ndarray, " example"]:
    """Returns which of ``count`` items each example takes: all in every epoch, in a new order."""
    epochs, turns = np.divmod(np.arange(examples.start, examples.stop), count)
    order = np.empty(len(examples), np.int64)
    for epoch in np.unique(epochs):
        now = epochs == epoch
        order[now] = _permutation(purpose, seed, int(epoch), count)[turns[now]]
    return order


@functools.lru_cache(maxsize=4)
def _permutation(purpose: str, seed: int, epoch: int, count: int) -> Int[np.ndarray, " item"]:
    return random_generator(purpose, seed, epoch).permutation(count)
