"""Slots that pool what their own gates let through.

A frame of an encoder of frames holds all voices at once, so attending to some frames and not to
others does not tell them apart. Here a slot is a gate over the units of a hidden layer of every
frame: it starts as a learned query, looks at the recording through itself, and is moved by the mean
of what it sees. Queries start with units of their own each, so that the model starts as a network
with one output per source ("a split").

Slots that carry over (`sequences`) are the next chunk's gates. How far each is from the learned
query that it belongs to fades there (`KEPT`), so that slots stay bounded, and are after four
chunks, as trainings have them, almost what they will be after many.
"""

import math
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from audioslots_jax import matching
from audioslots_jax.fields import positive
from audioslots_jax.models.interface import Features, Slots, only_frames

KEPT = 0.5  # of what a slot was moved by, from chunk to chunk


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
        gates = start if queries is None else queries
        kept = start if queries is None else faded(queries, learned)
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
        return Slots(kept + change, passed=passed)


def faded(
    gates: Float[Array, "batch slot unit"], learned: Float[Array, "slot unit"]
) -> Float[Array, "batch slot unit"]:
    """Returns gates on their way back to learned queries, each to one of its own.

    Which one is whose is the assignment with the least squared distances, so it depends on the
    gates alone and not on their order.
    """
    products = jnp.einsum("bsu,qu->bsq", gates, learned)
    lengths = jnp.sum(jnp.square(learned), axis=-1)
    few = math.factorial(len(learned)) <= matching.EXHAUSTIVE_LIMIT
    solver = "exhaustive" if few else "optax"
    order = matching.assign(lengths[None, None] - 2 * products, solver)
    own = learned[order]
    return own + KEPT * (gates - own)


def own_units(
    key: Key[Array, ""], shape: tuple[int, int], dtype: DTypeLike = jnp.float32
) -> Float[Array, "slot unit"]:
    """Returns queries that open a part of the units each."""
    del key
    slots, units = shape
    opened: jax.Array = jnp.repeat(jnp.eye(slots, dtype=dtype), units // slots, axis=1)
    return opened
