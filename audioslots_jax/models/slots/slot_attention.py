"""Slot Attention (Locatello et al. 2020, section 2.1 and algorithm 1).

Slots compete for the cells of the grid: the softmax is over slots, and each takes the mean of what
it won. The same step is repeated, with the same parameters.
"""

import math
from collections.abc import Iterator
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from audioslots_jax.fields import positive
from audioslots_jax.models.interface import Features, Slots
from audioslots_jax.models.positions import centres, fourier_features

SMALLEST = 1e-8  # added to the attention before it is made to weights, as by Locatello et al.


class SlotAttention(nn.Module):
    """A slot module: slots compete for the cells of a grid, several times.

    Attributes:
      slots: number of slots.
      crop_frames: frames of a training crop, the unit of the position code along time.
      slot_size: size of slots.
      iterations: of the competition.
      width: size of keys, queries and values.
      mlp: hidden size of the MLP that follows each update.
      start: slots start from ``learned`` queries; or each from a ``random`` one of a learned mean
        and width, the same for all slots, so that their number is free.
      frequency_octaves: octaves of the grid's position code along frequency.
      time_octaves: octaves of the grid's position code along time.
      dtype: of the products; parameters, slots and the softmax are float32.
    """

    slots: int
    crop_frames: int
    slot_size: int = 256
    iterations: int = 3
    width: int = 128
    mlp: int = 256
    start: Literal["learned", "random"] = "learned"
    frequency_octaves: int = 6
    time_octaves: int = 4
    dtype: DTypeLike = jnp.float32

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from positive(self, "slot_size", "iterations", "width", "mlp")
        yield from positive(self, "frequency_octaves", "time_octaves")

    @nn.compact
    def __call__(
        self,
        features: Features,
        queries: Float[Array, "batch slot embedding"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Slots:
        """Returns the slots of a batch of features, and what share of each cell they took.

        They start from ``queries``, if given. Random starts are drawn with the ``key``; without
        one they are the same every time.
        """
        batch, frequencies, times, channels = features.grid.shape
        position = fourier_features(
            centres(frequencies) / frequencies,
            features.frames / self.crop_frames,
            self.frequency_octaves,
            self.time_octaves,
        )
        grid = features.grid.astype(jnp.float32)
        grid = grid + nn.Dense(channels, name="position")(position)[None]
        memory = nn.LayerNorm(dtype=self.dtype, name="memory_norm")(
            grid.reshape(batch, -1, channels)
        )
        keys = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="key")(memory)
        values = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="value")(memory)

        start = self._start(batch, key)
        slots = start if queries is None else queries
        norm = nn.LayerNorm(dtype=self.dtype, name="slot_norm")
        query = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="query")
        update = nn.GRUCell(self.slot_size, name="update")
        mlp_norm = nn.LayerNorm(dtype=self.dtype, name="mlp_norm")
        mlp_in = nn.Dense(self.mlp, dtype=self.dtype, name="mlp_in")
        mlp_out = nn.Dense(self.slot_size, dtype=self.dtype, name="mlp_out")
        attention = []
        for _ in range(self.iterations):
            logits = jnp.einsum(
                "bsw,bcw->bsc", query(norm(slots)), keys, preferred_element_type=jnp.float32
            )
            shares = jax.nn.softmax(logits / math.sqrt(self.width), axis=1)
            weights = shares + SMALLEST
            weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
            seen = jnp.einsum("bsc,bcw->bsw", weights.astype(self.dtype), values)
            slots, _ = update(slots, seen.astype(jnp.float32))
            slots = slots + mlp_out(nn.relu(mlp_in(mlp_norm(slots)))).astype(jnp.float32)
            attention.append(shares.reshape(batch, 1, self.slots, frequencies, times))
        return Slots(slots, jnp.stack(attention, axis=1))

    def _start(
        self, batch: int, key: Key[Array, ""] | None
    ) -> Float[Array, "batch slot embedding"]:
        shape = (batch, self.slots, self.slot_size)
        if self.start == "learned":
            normal = nn.initializers.normal(1.0)
            return jnp.broadcast_to(self.param("queries", normal, shape[1:])[None], shape)
        mean = self.param("mean", nn.initializers.normal(1.0), (self.slot_size,))
        spread = self.param("log_spread", nn.initializers.zeros, (self.slot_size,))
        # Without a key all rows start alike, so that neighbouring chunks have slots of one order.
        drawn = (
            jax.random.normal(jax.random.key(0), shape[1:])[None]
            if key is None
            else jax.random.normal(key, shape)
        )
        return jnp.broadcast_to(mean[None, None] + jnp.exp(spread)[None, None] * drawn, shape)
