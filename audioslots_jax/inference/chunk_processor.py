"""A model on the chunks of a recording: their estimates, in one order from chunk to chunk."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from audioslots_jax.audio import streams
from audioslots_jax.audio.chunks import Chunk, continue_order, order_like, reorder, zeros
from audioslots_jax.compilation import announced
from audioslots_jax.inference.gain import Gain
from audioslots_jax.inference.presence import Presences
from audioslots_jax.inference.trace import Trace
from audioslots_jax.separator import Estimates, Separator
from audioslots_jax.sequences import carry_over


class Chunks(NamedTuple):
    """What the model makes of chunks."""

    estimates: Float[Array, "chunk slot length"]
    embeddings: Float[Array, "chunk slot embedding"]
    presence: Float[Array, "chunk slot"]


class ChunkProcessor:
    """Separates one batch of chunks after the other; see `stitch`."""

    def __init__(
        self,
        separator: Separator,
        params: Any,
        hop: int,
        gain: Gain,
        *,
        carries: bool,
        presences: Presences | None = None,
        trace: Trace | None = None,
    ):
        """Starts a recording.

        Args:
          separator: makes the estimates, with the ``params``.
          params: the network's parameters.
          hop: distance between the beginnings of chunks, in samples.
          gain: of what the model hears.
          carries: whether the slots of a chunk start the next one's.
          presences: gather which slots hold a source.
          trace: gathers how chunks are joined.
        """
        self._separator, self._params, self._hop, self._gain = separator, params, hop, gain
        self._carries, self._presences, self._trace = carries, presences, trace
        self._previous: Chunk | None = None
        self._streams: streams.Streams | None = None
        self._queries: dict[int, Array] = {}  # by channel

    def __call__(
        self, chunks: Float32[np.ndarray, "chunk channel length"]
    ) -> Float32[np.ndarray, "chunk slot channel length"]:
        """Returns the estimates of a batch of chunks, which follow those of earlier calls."""
        gain = self._gain(chunks)
        # One channel after the other, so that the network never sees more than one's chunks.
        made = self._estimate(chunks[:, 0], 0, gain)
        first, order = self._continue(made)
        if self._trace is not None:
            self._trace.add(np.asarray(order), np.asarray(made.embeddings))
        aligned, probabilities = [first], [_reorder(made.presence, order)]
        for channel in range(1, chunks.shape[1]):
            made = self._estimate(chunks[:, channel], channel, gain)
            # It hears the same sources as the first.
            estimates, order = _reorder_like(made.estimates, first)
            aligned.append(estimates)
            probabilities.append(_reorder(made.presence, order))
        estimates = np.stack([np.asarray(x) for x in aligned], axis=2)
        if self._presences is not None:
            self._presences.add(
                np.stack([np.asarray(x) for x in probabilities], axis=2),
                np.sum(np.square(estimates), axis=-1),
            )
        return estimates

    def _continue(
        self, made: Chunks
    ) -> tuple[Float[Array, "chunk slot length"], Int[Array, "chunk slot"]]:
        """Returns estimates in the order of earlier ones, and that order."""
        stft = self._separator.front_end.stft
        if self._separator.model.presence is not None:
            _, slots, length = made.estimates.shape
            if self._streams is None:
                self._streams = streams.start(slots, length, made.embeddings.shape[2], stft)
            first, order, self._streams = _follow(self._streams, *made, self._hop, stft)
            return first, order
        if self._previous is None:
            self._previous = Chunk(*(zeros(*x.shape[1:]) for x in made[:2]))
        first, order, self._previous = _continue_order(
            self._previous, made.estimates, made.embeddings, self._hop, stft
        )
        return first, order

    def _estimate(
        self, chunks: Float32[np.ndarray, "chunk length"], channel: int, gain: np.ndarray
    ) -> Chunks:
        if not self._carries:
            return estimate(self._separator, self._params, chunks, gain)
        start = self._queries.get(channel)
        made = _carry_over(self._separator, self._params, chunks, gain, start)
        self._queries[channel] = made.embeddings[-1:]
        return made


@functools.partial(announced, what="compiling the network")
@functools.partial(jax.jit, static_argnums=0)
def estimate(
    separator: Separator,
    params: Any,
    mixtures: Float[Array, "chunk length"],
    gain: Float[Array, ""],
) -> Chunks:
    """Returns estimates of chunks, NaN where the network's are not finite, and what they are."""
    return _finite(separator(params, mixtures, gain=gain))


@functools.partial(jax.jit, static_argnums=0)
def _carry_over(
    separator: Separator,
    params: Any,
    mixtures: Float[Array, "chunk length"],
    gain: Float[Array, ""],
    queries: Float[Array, "1 slot embedding"] | None,
) -> Chunks:
    """Returns the same, where each chunk starts from the slots of the one before."""
    found = carry_over(separator, params, mixtures[:, None], gain=gain, queries=queries)
    return _finite(jax.tree.map(lambda x: x[:, 0], found))


def _finite(estimates: Estimates) -> Chunks:
    # XLA may lose a NaN on its way through the masks.
    finite = jnp.all(jnp.isfinite(estimates.magnitudes), axis=(1, 2, 3))
    waveforms = jnp.where(finite[:, None, None], estimates.waveforms, jnp.nan)
    logits = estimates.named.get("presence", jnp.full(waveforms.shape[:2], jnp.inf))
    return Chunks(waveforms, estimates.slots.astype(jnp.float32), jax.nn.sigmoid(logits))


_follow = jax.jit(streams.follow, static_argnums=(4, 5))
_continue_order = jax.jit(continue_order, static_argnums=(3, 4))


@jax.jit
def _reorder(
    values: Float[Array, "chunk slot"], order: Int[Array, "chunk slot"]
) -> Float[Array, "chunk slot"]:
    return jnp.take_along_axis(values, order, axis=1)


@jax.jit
def _reorder_like(
    chunks: Float[Array, "chunk slot length"], others: Float[Array, "chunk slot length"]
) -> tuple[Float[Array, "chunk slot length"], Int[Array, "chunk slot"]]:
    order = order_like(chunks, others)
    return reorder(chunks, order), order
