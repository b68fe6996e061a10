"""Streams: the slots of a recording's chunks in one order, where some of them are empty.

`blind_order` joins every chunk to the one before. Where slots may hold no source that forgets too
much: a voice that pauses is gone, a chunk that mixes two voices breaks the chain for good, and two
empty slots have little in common. A stream here remembers all that was faded into it so far, and
what its source sounds like.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from audioslots_jax import matching
from audioslots_jax.audio.chunks import (
    cosine_similarity,
    fade,
    reorder,
    spectral_difference,
    zeros,
)
from audioslots_jax.audio.spectrogram import POWER, compress
from audioslots_jax.audio.stft import STFT

# Weights of what a source sounds like, beside the overlap's 1. Spectra of voices are more alike
# than embeddings, and tell voices apart in whichever slot they are.
SPECTRUM, EMBEDDING = 2.0, 0.3
# What a source costs in a stream that has held none, against 1 - cosine similarity in others.
STRANGER = 0.5
KNOWN = 4.0  # chunks after which a stream knows its source


class Streams(NamedTuple):
    """What later chunks continue; `start` has nothing to continue.

    Attributes:
      faded: what chunks have given, by their `fade`, to the samples of the next one.
      weights: sums of the fades.
      spectra, embeddings: sums over chunks of what a stream's slots were like while they held a
        source, each of length 1.
      chunks: number of these chunks.
    """

    faded: Float[Array, "stream length"]
    weights: Float[Array, " length"]
    spectra: Float[Array, "stream bin"]
    embeddings: Float[Array, "stream embedding"]
    chunks: Float[Array, " stream"]


def start(slots: int, length: int, embedding: int, stft: STFT) -> Streams:
    """Returns streams that nothing has been added to, for chunks of ``length`` samples."""
    spectra, embeddings = zeros(slots, stft.bins), zeros(slots, embedding)
    return Streams(zeros(slots, length), zeros(length), spectra, embeddings, zeros(slots))


def follow(
    streams: Streams,
    chunks: Float[Array, "chunk slot length"],
    embeddings: Float[Array, "chunk slot embedding"],
    presence: Float[Array, "chunk slot"],
    hop: int,
    stft: STFT,
) -> tuple[Float[Array, "chunk slot length"], Int[Array, "chunk slot"], Streams]:
    """Returns chunks with their slots in the order of the streams, that order, and the streams.

    A slot follows a stream the better the less their compressed spectrograms differ where they
    overlap, so that silence against silence costs nothing; and, as far as it holds a source, the
    more its spectrum and embedding are like those of the stream so far. An empty slot is like any
    stream: that of nobody, or of a source that pauses. A source that no stream has held costs
    `STRANGER`, so it begins a stream of its own rather than taking another's.

    Args:
      streams: of earlier chunks.
      chunks: waveforms, cut every ``hop`` samples.
      embeddings: of the slots.
      presence: probability of every slot to hold a source.
      hop: below the length of a chunk.
      stft: in which sounds are compared.
    """
    length = chunks.shape[-1]
    shape, overlap = fade(length).astype("float32"), length - hop

    def add(
        streams: Streams, chunk: tuple[Array, Array, Array, Array]
    ) -> tuple[Streams, Int[Array, " slot"]]:
        waveforms, spectra, embeddings, presence = chunk
        before = streams.faded[:, :overlap] / jnp.maximum(streams.weights[None, :overlap], 1e-12)
        before, after = (compress(stft(x))[None] for x in (before, waveforms[:, :overlap]))
        known = jnp.minimum(streams.chunks / KNOWN, 1.0)[:, None]
        cost = spectral_difference(before, after)[0]
        pairs = (SPECTRUM, streams.spectra, spectra), (EMBEDDING, streams.embeddings, embeddings)
        for weight, past, now in pairs:
            other = 1 - cosine_similarity(past[None], now[None])[0]
            cost += weight * presence[None] * (known * other + (1 - known) * STRANGER)
        order = matching.assign(cost[None])[0]
        # What is not finite has no order.
        order = jnp.where(
            order == matching.UNASSIGNED, jnp.arange(len(order), dtype=order.dtype), order
        )
        held = presence[order]
        later = ((0, 0), (0, hop))
        return Streams(
            jnp.pad(streams.faded + shape[None] * waveforms[order], later)[:, hop:],
            jnp.pad(streams.weights + shape, later[1])[hop:],
            streams.spectra + held[:, None] * _unit(spectra[order]),
            streams.embeddings + held[:, None] * _unit(embeddings[order]),
            streams.chunks + held,
        ), order

    power = jnp.mean(jnp.square(jnp.abs(stft(chunks))), axis=-1)
    streams, order = jax.lax.scan(add, streams, (chunks, power**POWER, embeddings, presence))
    return reorder(chunks, order), order, streams


def _unit(vectors: Float[Array, "stream value"]) -> Float[Array, "stream value"]:
    return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
