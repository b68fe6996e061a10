"""Scores of whole mixtures: cut into chunks, masked, joined again (paper, sections 3 and 4).

What is compared in the paper's Table 1 differs in one thing, the magnitudes that masks are made of:
those of the true sources (`oracle`), or a network's. All else is a mask of `audio.MASKS` and a
`Protocol`:

    pieces = scoring.cut(sources, protocol)
    magnitudes = scoring.oracle(pieces, protocol.stft)
    scores = scoring.score(sources, MASKS["wiener"](magnitudes), protocol)

Everything here knows the truth; nothing here needs a model.
"""

import dataclasses
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from audioslots_jax.audio import (
    STFT,
    apply_masks,
    blind_order,
    join,
    oracle_order,
    permuted_si_snr,
    reorder,
    si_snr,
    si_snr_improvement,
    split,
)
from audioslots_jax.audio.chunks import difference

STITCHINGS = ("oracle", "blind")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How masks of chunks become recordings of the sources.

    Attributes:
      chunk: length of a chunk in samples; even.
      stft: of each chunk, with edges ``"chunk_edge"`` (protocol A, the paper's) or ``"centred"``
        (protocol B).
      stitching: ``"oracle"`` is the paper's: chunks do not overlap, and each chunk's slots take the
        order that fits the true sources best. ``"blind"`` needs no truth: chunks overlap by half,
        and each continues the order of the one before.
    """

    chunk: int
    stft: STFT
    stitching: Literal["oracle", "blind"]

    @property
    def hop(self) -> int:
        """Distance between the starts of chunks, in samples."""
        return self.chunk if self.stitching == "oracle" else self.chunk // 2


class Scores(NamedTuple):
    """Of one mixture.

    Attributes:
      si_snr: of every source's estimate, in dB.
      si_snri: the same, less the SI-SNR of the mixture.
      permutation: the estimate that each source was matched with, over the whole mixture.
      swaps: number of chunks whose estimates would fit the true sources better in another order.
    """

    si_snr: Float[Array, " source"]
    si_snri: Float[Array, " source"]
    permutation: Int[Array, " source"]
    swaps: Int[Array, ""]


def cut(
    sources: Float[Array, "source sample"], protocol: Protocol
) -> Float[Array, "chunk source length"]:
    """The chunks of a mixture's sources; zeros follow the end."""
    return jnp.swapaxes(split(sources, protocol.chunk, protocol.hop), 0, 1)


def oracle(
    pieces: Float[Array, "chunk source length"], stft: STFT
) -> Float[Array, "chunk source frequency time"]:
    """Magnitudes of the true sources: the ceiling of the masks."""
    return jnp.abs(stft(pieces)[..., :-1, :])


def floor(sources: Float[Array, "source sample"]) -> Float[Array, " source"]:
    """SI-SNR in dB of the mixture itself as the estimate of every source."""
    mixture = jnp.sum(sources, axis=0)
    return si_snr(*jnp.broadcast_arrays(sources, mixture[None]))


def score(
    sources: Float[Array, "source sample"],
    masks: Float[Array, "chunk source frequency time"],
    protocol: Protocol,
    samples: int | Int[Array, ""] | None = None,
) -> Scores:
    """Masks the mixture of the sources, joins the chunks and compares with the truth.

    A source that is all silent has no SI-SNR and gives NaN.

    Args:
      sources: whole, at the level they are mixed with.
      masks: one per source of the mixture in the chunks that `cut` gives, without the Nyquist bin;
        those of a chunk may come in any order.
      protocol: what is done with them.
      samples: where zeros begin that only pad the sources, so that mixtures of many lengths share
        one compiled program; the scores are those without these zeros. By default none do.
    """
    end = jnp.asarray(sources.shape[-1] if samples is None else samples, jnp.int32)
    targets = cut(sources, protocol)
    spectrograms = protocol.stft(jnp.sum(targets, axis=1))
    chunks = protocol.stft.inverse(apply_masks(masks, spectrograms), protocol.chunk)
    if protocol.stitching == "oracle":
        order = oracle_order(chunks, targets)
    else:
        order = blind_order(chunks, protocol.hop)
    chunks = reorder(chunks, order) * used(protocol, chunks.shape[0], end)[:, None, None]
    estimates = join_before(chunks, protocol, sources.shape[-1], end)
    return compare(sources, estimates, targets, chunks)


def compare(
    sources: Float[Array, "source sample"],
    estimates: Float[Array, "source sample"],
    targets: Float[Array, "chunk source length"],
    chunks: Float[Array, "chunk source length"],
) -> Scores:
    """Scores of whole estimates, in an order that is the same throughout.

    Args:
      sources: the truth.
      estimates: of the sources, in any order.
      targets: chunks of the sources.
      chunks: of the estimates, in their order.
    """
    scores, permutation = permuted_si_snr(sources, estimates)
    improvement = si_snr_improvement(scores, sources, jnp.sum(sources, axis=0))
    return Scores(scores, improvement, permutation, swapped(chunks[:, permutation], targets))


def used(protocol: Protocol, chunks: int, end: Int[Array, ""]) -> Float[Array, " chunk"]:
    """1 for the chunks that a mixture of ``end`` samples is cut into, 0 for those after them."""
    reached = (jnp.arange(chunks, dtype=jnp.int32) - 1) * protocol.hop + protocol.chunk
    return ((reached < end) | (jnp.arange(chunks) == 0)).astype(jnp.float32)


def join_before(
    chunks: Float[Array, "chunk source length"],
    protocol: Protocol,
    samples: int,
    end: Int[Array, ""],
) -> Float[Array, "source sample"]:
    """Joins the chunks that are `used`; zeros follow from sample ``end`` on."""
    counted = used(protocol, chunks.shape[0], end)[:, None, None]
    counted = jnp.broadcast_to(counted, (chunks.shape[0], 1, chunks.shape[2]))
    # `join` divides by the weights of all chunks, which cancel here.
    joined, weight = (join(x, protocol.hop, samples) for x in (chunks, counted))
    inside = jnp.arange(samples, dtype=jnp.int32) < end
    return jnp.where(inside[None], joined / jnp.where(inside, weight[0], 1.0)[None], 0.0)


def swapped(
    chunks: Float[Array, "chunk source length"], targets: Float[Array, "chunk source length"]
) -> Int[Array, ""]:
    """Number of chunks whose waveforms fit the targets better in another order."""
    costs = difference(targets, chunks)
    best = jnp.take_along_axis(costs, oracle_order(chunks, targets)[:, :, None], axis=2)
    worse = jnp.trace(costs, axis1=1, axis2=2) > jnp.sum(best, axis=(1, 2))
    return jnp.sum(worse.astype(jnp.int32))
