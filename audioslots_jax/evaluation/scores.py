"""Scores of whole mixtures, whoever took them apart."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int

from audioslots_jax.audio import order_like, permuted_si_snr, si_snr_improvement, split
from audioslots_jax.audio.chunks import difference
from audioslots_jax.data.batch import Whole
from audioslots_jax.errors import UserError

CHUNKS = 10  # mixtures are padded to a multiple of as many chunks, so that few shapes are compiled


class Scores(NamedTuple):
    """Of one mixture.

    Attributes:
      si_snr: of every source's estimate, in dB.
      si_snri: the same, less the SI-SNR of the mixture.
      permutation: the estimate that each source was matched with, over the whole mixture.
      held: the source that each source's estimate holds in each chunk, followed by those of zeros
        that fill the mixture up; see `sources_held`.
    """

    si_snr: Float[Array | np.ndarray, " source"]
    si_snri: Float[Array | np.ndarray, " source"]
    permutation: Int[Array | np.ndarray, " source"]
    held: Int[Array | np.ndarray, "chunk source"]

    @property
    def swapped(self) -> Bool[np.ndarray, " chunk"]:
        """Returns the chunks whose estimates would fit the true sources better in another order."""
        held = np.asarray(self.held)
        changed: np.ndarray = np.any(held != np.arange(held.shape[1]), axis=1)
        return changed

    @property
    def swaps(self) -> int:
        """Returns the number of these chunks."""
        return int(self.swapped.sum())


def score(whole: Whole, estimates: Float32[np.ndarray, "slot sample"], chunk: int) -> Scores:
    """Returns the scores of whole estimates, in an order that is the same throughout.

    There are at least as many slots as sources, in any order; swaps are counted in chunks of
    ``chunk`` samples.

    Raises:
      UserError: if a source is silent.
    """
    if not np.all(np.any(whole.sources, axis=1)):
        raise UserError(
            f"mixture {whole.name}: a source is silent, and silence has no SI-SNR; leave the "
            "mixture out."
        )
    missing = -whole.mixture.shape[-1] % (CHUNKS * chunk)
    # Zeros at the end of everything change no score.
    padded = (
        np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
        for x in (whole.mixture, whole.sources, estimates)
    )
    scores: Scores = jax.device_get(_score(*padded, chunk))
    return scores


@functools.partial(jax.jit, static_argnums=3)
def _score(
    mixture: Float[Array, " sample"],
    sources: Float[Array, "source sample"],
    estimates: Float[Array, "slot sample"],
    chunk: int,
) -> Scores:
    scores, permutation = permuted_si_snr(sources, estimates)
    improvement = si_snr_improvement(scores, sources, mixture)
    targets, chunks = (
        jnp.swapaxes(split(x, chunk, chunk), 0, 1) for x in (sources, estimates[permutation])
    )
    return Scores(scores, improvement, permutation, sources_held(chunks, targets))


def sources_held(
    chunks: Float[Array, "chunk source length"], targets: Float[Array, "chunk source length"]
) -> Int[Array, "chunk source"]:
    """Returns the source that each estimate holds in each chunk.

    It is the estimate's own, unless all estimates would fit the targets better in another order.
    """
    costs = difference(targets, chunks)
    order = order_like(chunks, targets)
    best = jnp.take_along_axis(costs, order[:, :, None], axis=2)
    worse = jnp.trace(costs, axis1=1, axis2=2) > jnp.sum(best, axis=(1, 2))
    own = jnp.arange(order.shape[1], dtype=order.dtype)
    return jnp.where(worse[:, None], jnp.argsort(order, axis=1).astype(order.dtype), own[None])
