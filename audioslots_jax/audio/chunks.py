"""Long recordings in chunks: cutting, fading, and bringing the slots of all chunks into one order.

A model separates one chunk at a time, and its slots come in no particular order. The AudioSlots
paper (section 3) cuts without overlap and orders the slots of each chunk by the ground truth, "for
simplicity"; that is `order_like` the true sources. `blind_order` needs no truth: chunks overlap,
and what two neighbours make of the samples they share, and how alike the slots' embeddings are,
tells which slots belong together.

An order that cannot be made, because something is not finite, is that of the chunk before.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from audioslots_jax import matching
from audioslots_jax.audio.spectrogram import compress
from audioslots_jax.audio.stft import STFT


def split(
    waveform: Float[Array, "*batch sample"], length: int, hop: int
) -> Float[Array, "*batch chunk length"]:
    """Returns chunks that start every ``hop`` samples, at most ``length``; zeros follow the end."""
    samples = waveform.shape[-1]
    chunks = count(samples, length, hop)
    padding = [(0, 0)] * (waveform.ndim - 1) + [(0, (chunks - 1) * hop + length - samples)]
    padded = jnp.pad(waveform, padding)
    return padded[..., np.arange(chunks)[:, None] * hop + np.arange(length)]


def count(samples: int, length: int, hop: int) -> int:
    """Returns the number of chunks that hold all ``samples`` samples."""
    return 1 + max(-(-(samples - length) // hop), 0)


def fade(length: int) -> Float[np.ndarray, " length"]:
    """Returns the weights of a chunk's samples where chunks overlap: a triangle, above 0."""
    centres = np.arange(length) + 0.5
    return np.minimum(centres, length - centres) / (length / 2)


def blind_hop(length: int) -> int:
    """Returns the hop between chunks of ``length`` samples that are to be ordered blindly."""
    return max(length // 4, 1)


def blind_order(
    chunks: Float[Array, "chunk slot length"],
    hop: int,
    embeddings: Float[Array, "chunk slot embedding"] | None = None,
    stft: STFT = STFT(),  # noqa: B008 (it cannot change)
) -> Int[Array, "chunk slot"]:
    """Returns an order of each chunk's slots that continues the order of the chunk before it.

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


class Chunk(NamedTuple):
    """A chunk that others continue: what its slots hold, in order.

    Attributes:
      estimates: waveforms.
      embeddings: of the slots; zeros where there are none.
    """

    estimates: Float[Array, "slot length"]
    embeddings: Float[Array, "slot embedding"]


def zeros(*shape: int) -> Float[Array, "..."]:
    """Returns zeros of a shape; made by NumPy, so that XLA compiles no program for them."""
    return jnp.asarray(np.zeros(shape, np.float32))


def continue_order(
    previous: Chunk,
    chunks: Float[Array, "chunk slot length"],
    embeddings: Float[Array, "chunk slot embedding"],
    hop: int,
    stft: STFT,
) -> tuple[Float[Array, "chunk slot length"], Int[Array, "chunk slot"], Chunk]:
    """Returns chunks with their slots in `blind_order` after ``previous``, and what made it so.

    That is the order, and the last chunk, for the next ones to continue.

    Before the first chunk there was one of zeros, which has no order to continue.
    """
    chunks = jnp.concatenate([previous.estimates[None], chunks])
    embeddings = jnp.concatenate([previous.embeddings[None], embeddings])
    order = blind_order(chunks, hop, embeddings, stft)
    ordered = reorder(chunks, order)[1:]
    return ordered, order[1:], Chunk(ordered[-1], reorder(embeddings, order)[-1])


def chain(costs: Float[Array, "joint slot slot"]) -> Int[Array, "chunk slot"]:
    """Returns an order of each chunk's slots, from what it costs to let one slot follow another.

    ``costs[k, i, j]`` is that of slot ``j`` of chunk ``k + 1`` after slot ``i`` of chunk ``k``.
    """
    first = jnp.arange(costs.shape[1], dtype=jnp.int32)
    assigned = matching.assign(costs)
    following = jnp.where(assigned == matching.UNASSIGNED, first[None], assigned)
    _, rest = jax.lax.scan(lambda order, step: (step[order], step[order]), first, following)
    return jnp.concatenate([first[None], rest])


def order_like(
    chunks: Float[Array, "chunk slot length"], others: Float[Array, "chunk source length"]
) -> Int[Array, "chunk source"]:
    """Returns an order of each chunk's slots that fits others of the same time best.

    The others, of no more slots, are the true sources, in evaluation alone, or another channel's.
    """
    orders = matching.assign(difference(others, chunks))
    assigned = orders[:, 0] != matching.UNASSIGNED
    # The last chunk so far that has an order of its own; 0 is the row before the first.
    last = jax.lax.cummax(jnp.where(assigned, jnp.arange(1, len(orders) + 1), 0))
    first = jnp.arange(orders.shape[1], dtype=orders.dtype)
    return jnp.concatenate([first[None], orders])[last]


def reorder(
    values: Float[Array, "chunk slot value"], order: Int[Array, "chunk source"]
) -> Float[Array, "chunk source value"]:
    """Returns what every slot has, such as its waveform, with the slots in the given order."""
    return jnp.take_along_axis(values, order[:, :, None], axis=1)


def spectral_difference(
    before: Float[Array, "joint slot frequency time"],
    after: Float[Array, "joint slot frequency time"],
) -> Float[Array, "joint slot slot"]:
    """Returns the squared difference of every pair, relative to the mean energy of all slots."""
    pairs = before[:, :, None] - after[:, None]
    energy = jnp.mean(jnp.square(before) + jnp.square(after), axis=(1, 2, 3))
    return jnp.mean(jnp.square(pairs), axis=(3, 4)) / jnp.maximum(energy, 1e-12)[:, None, None]


def cosine_similarity(
    before: Float[Array, "joint slot embedding"], after: Float[Array, "joint slot embedding"]
) -> Float[Array, "joint slot slot"]:
    """Returns the cosine similarity of every pair; 0 where an embedding is."""

    def unit(x: Float[Array, "joint slot embedding"]) -> Float[Array, "joint slot embedding"]:
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)

    return jnp.einsum("jae,jbe->jab", unit(before), unit(after))


def difference(
    targets: Float[Array, "chunk source length"], estimates: Float[Array, "chunk slot length"]
) -> Float[Array, "chunk source slot"]:
    """Returns the mean squared difference of every pair of waveforms."""
    pairs = targets[:, :, None, :] - estimates[:, None, :, :]
    return jnp.mean(jnp.square(pairs), axis=-1)
