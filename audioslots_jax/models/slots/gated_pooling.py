"""Slots that pool what their own gates let through.

A frame of an encoder of frames holds all voices at once, so attending to some frames and not to
others does not tell them apart. Here a slot is a gate over the units of a hidden layer of every
frame: it starts as a learned query, looks at the recording through itself, and is moved by the mean
of what it sees. Queries start with units of their own each, so that the model starts as a network
with one output per source ("a split").
"""

from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from audioslots_jax.fields import positive
from audioslots_jax.models.interface import Features, Slots, only_frames

LONGEST = 2.0


class GatedPooling(nn.Module):
    """A slot module: learned queries become gates of what an encoder makes of frames.

    It reads a grid of one frequency and, if the encoder says, how loud each frame is.

    Attributes:
      slots: number of queries, which is the number of slots.
      slot_size: units of the hidden layer, and size of queries and slots.
      dtype: of the products; parameters, slots and means are float32.
    """

    slots: int
    slot_size: int = 384
    dtype: DTypeLike = jnp.float32

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from positive(self, "slot_size")
        if self.slot_size % self.slots:
            yield "slot_size", f"must be a multiple of model.slots ({self.slots})"

    @nn.compact
    def __call__(
        self,
        features: Features,
        queries: Float[Array, "batch slot embedding"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Slots:
        """Returns the slots of a batch of features, and how much of each frame passed their gates.

        They start from ``queries``, if given, in place of the learned ones. A ``key`` is part of a
        slot module's contract; this one draws nothing.
        """
        del key
        frames = only_frames(features)
        learned = self.param("queries", own_units, (self.slots, self.slot_size))
        start = jnp.broadcast_to(learned[None], (len(frames), *learned.shape))
        gates = start if queries is None else bounded(queries, self.slots)
        hidden = nn.Dense(self.slot_size, dtype=self.dtype, name="hidden")(frames)
        seen = nn.silu(hidden[:, None] * gates[:, :, None].astype(self.dtype))
        # Frames count as much as they are loud, so zeros before or after change nothing.
        loudness = features.named.get("loudness", jnp.ones(frames.shape[:2]))
        weights = loudness / jnp.maximum(jnp.sum(loudness, axis=1, keepdims=True), 1e-6)
        mean = jnp.einsum("bstu,bt->bsu", seen.astype(jnp.float32), weights)
        mean = nn.LayerNorm(name="norm")(mean)
        change = nn.silu(nn.Dense(self.slot_size, name="change_in")(mean))
        zeros = nn.initializers.zeros
        change = nn.Dense(self.slot_size, kernel_init=zeros, name="change_out")(change)
        # How long a frame's part of the mean is; jit drops it where nobody looks.
        passed = jnp.linalg.norm(seen.astype(jnp.float32), axis=-1) * weights[:, None]
        return Slots(gates + change, passed=passed)


def bounded(
    queries: Float[Array, "batch slot embedding"], slots: int
) -> Float[Array, "batch slot embedding"]:
    """Returns queries of at most `LONGEST` times the length of `own_units`.

    Each pass adds to them, so slots that are carried from chunk to chunk would grow for ever.
    """
    lengths = jnp.sqrt(jnp.sum(jnp.square(queries), axis=-1, keepdims=True) + 1e-12)
    return queries * jnp.minimum(1.0, LONGEST * (queries.shape[-1] / slots) ** 0.5 / lengths)


def own_units(
    key: Key[Array, ""], shape: tuple[int, int], dtype: DTypeLike = jnp.float32
) -> Float[Array, "slot unit"]:
    """Returns queries that open a part of the units each."""
    del key
    slots, units = shape
    opened: jax.Array = jnp.repeat(jnp.eye(slots, dtype=dtype), units // slots, axis=1)
    return opened
