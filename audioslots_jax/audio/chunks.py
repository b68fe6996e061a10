"""Long recordings in chunks: cutting, bringing the slots of all chunks into one order, joining.

A model separates one chunk at a time, and its slots come in no particular order. The AudioSlots
paper (section 3) cuts without overlap and orders the slots of each chunk by the ground truth, "for
simplicity"; that is `oracle_order`. `blind_order` needs no truth: chunks overlap, and what two
neighbours make of the samples they share, and how alike the slots' embeddings are, tells which
slots belong together.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from audioslots_jax import matching
from audioslots_jax.audio.spectrogram import compress
from audioslots_jax.audio.stft import STFT, overlap_add


def split(
    waveform: Float[Array, "*batch sample"], length: int, hop: int
) -> Float[Array, "*batch chunk length"]:
    """Chunks that start every ``hop`` samples; zeros follow the end of the waveform.

    Args:
      waveform: at least one sample.
      length: of a chunk, in samples.
      hop: at most ``length``.
    """
    samples = waveform.shape[-1]
    chunks = count(samples, length, hop)
    padding = [(0, 0)] * (waveform.ndim - 1) + [(0, (chunks - 1) * hop + length - samples)]
    padded = jnp.pad(waveform, padding)
    return padded[..., np.arange(chunks)[:, None] * hop + np.arange(length)]


def count(samples: int, length: int, hop: int) -> int:
    """Number of chunks that hold all ``samples`` samples."""
    return 1 + max(-(-(samples - length) // hop), 0)


def join(
    chunks: Float[Array, "chunk slot length"], hop: int, samples: int
) -> Float[Array, "slot sample"]:
    """The first ``samples`` samples of what chunks were cut from, faded from one to the next.

    Where chunks overlap, a sample counts the more the farther it is from a chunk's edges. What
    `split` cut comes back as it was.
    """
    weight = jnp.asarray(fade(chunks.shape[-1]), chunks.dtype)
    weights = jnp.broadcast_to(weight, (1, chunks.shape[0], weight.shape[0]))
    faded = jnp.swapaxes(chunks, 0, 1) * weight[None, None]
    return (overlap_add(faded, hop) / overlap_add(weights, hop))[:, :samples]


def fade(length: int) -> np.ndarray:
    """Weights of the samples of a chunk: a triangle, above 0 everywhere."""
    place = np.arange(length) + 0.5
    return np.minimum(place, length - place) / (length / 2)


def blind_order(
    chunks: Float[Array, "chunk slot length"],
    hop: int,
    embeddings: Float[Array, "chunk slot embedding"] | None = None,
    stft: STFT = STFT(),  # noqa: B008 (it cannot change)
) -> Int[Array, "chunk slot"]:
    """An order of each chunk's slots that continues the order of the chunk before it.

    Neighbours share ``length - hop`` samples of one mixture: slots belong together whose
    compressed spectrograms differ least there, and whose embeddings have the same direction.

    Args:
      chunks: waveforms, cut every ``hop`` samples.
      hop: below the length of a chunk; see `blind_hop`.
      embeddings: of the slots, where there are any.
      stft: in which the shared samples are compared.

    Returns:
      For every chunk, the slot that is the first source, the second, ...; the first chunk's slots
      stay in their order.
    """
    before, after = chunks[:-1, :, hop:], chunks[1:, :, : chunks.shape[-1] - hop]
    costs = spectral_difference(compress(stft(before)), compress(stft(after)))
    if embeddings is not None:
        costs += 1 - cosine_similarity(embeddings[:-1], embeddings[1:])
    return chain(costs)


def chain(costs: Float[Array, "joint slot slot"]) -> Int[Array, "chunk slot"]:
    """An order of each chunk's slots, from what it costs to let one slot follow another.

    Args:
      costs: ``costs[k, i, j]`` lets slot ``j`` of chunk ``k + 1`` follow slot ``i`` of chunk ``k``.
    """
    following = matching.assign(costs)

    def follow(
        order: Int[Array, " slot"], step: Int[Array, " slot"]
    ) -> tuple[Int[Array, " slot"], Int[Array, " slot"]]:
        return step[order], step[order]

    first = jnp.arange(costs.shape[1], dtype=following.dtype)
    _, rest = jax.lax.scan(follow, first, following)
    return jnp.concatenate([first[None], rest])


def blind_hop(length: int) -> int:
    """The hop between chunks of ``length`` samples that are to be ordered blindly."""
    return max(length // 4, 1)


def spectral_difference(
    before: Float[Array, "joint slot frequency time"],
    after: Float[Array, "joint slot frequency time"],
) -> Float[Array, "joint slot slot"]:
    """Squared difference of every pair, relative to the mean energy of all slots."""
    pairs = before[:, :, None] - after[:, None]
    energy = jnp.mean(jnp.square(before) + jnp.square(after), axis=(1, 2, 3))
    return jnp.mean(jnp.square(pairs), axis=(3, 4)) / jnp.maximum(energy, 1e-12)[:, None, None]


def cosine_similarity(
    before: Float[Array, "joint slot embedding"], after: Float[Array, "joint slot embedding"]
) -> Float[Array, "joint slot slot"]:
    """Cosine similarity of every pair; 0 where an embedding is."""

    def unit(x: Float[Array, "joint slot embedding"]) -> Float[Array, "joint slot embedding"]:
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)

    return jnp.einsum("jae,jbe->jab", unit(before), unit(after))


def oracle_order(
    chunks: Float[Array, "chunk slot length"], targets: Float[Array, "chunk slot length"]
) -> Int[Array, "chunk slot"]:
    """An order of each chunk's slots that fits the true sources best; for evaluation alone."""
    return order_like(chunks, targets)


def order_like(
    chunks: Float[Array, "chunk slot length"],
    others: Float[Array, "chunk slot length"],
) -> Int[Array, "chunk slot"]:
    """An order of each chunk's slots that fits others of the same time best."""
    return matching.assign(difference(others, chunks))


def reorder(
    chunks: Float[Array, "chunk slot length"], order: Int[Array, "chunk slot"]
) -> Float[Array, "chunk slot length"]:
    """The chunks with their slots in the given order."""
    return jnp.take_along_axis(chunks, order[:, :, None], axis=1)


def difference(
    targets: Float[Array, "chunk target sample"], estimates: Float[Array, "chunk slot sample"]
) -> Float[Array, "chunk target slot"]:
    """Mean squared difference of every pair of waveforms."""
    pairs = targets[:, :, None, :] - estimates[:, None, :, :]
    return jnp.mean(jnp.square(pairs), axis=-1)
