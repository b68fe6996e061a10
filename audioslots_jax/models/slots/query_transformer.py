"""The slot module of the paper: a transformer with learned queries (section 2, "slots").

Unlike in the original transformer decoder, a layer first lets the queries attend to each other and
then to the encoder's grid, and each attention uses one and the same variable as keys and values.
"""

import functools
import math
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from audioslots_jax.fields import positive
from audioslots_jax.models.interface import Features, Slots
from audioslots_jax.models.positions import centres, fourier_features


class Attention(nn.Module):
    """Multi-head dot-product attention with one variable as keys and values.

    Attributes:
      width: size of all heads together; a multiple of ``heads``.
      heads: number of heads.
      dtype: of the products; the softmax is float32.
    """

    width: int
    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "batch query features"],
        memory: Float[Array, "batch key memory_features"],
    ) -> tuple[Float[Array, "batch query features"], Float[Array, "batch head query key"]]:
        """Returns the output, as wide as the queries, and the attention weights."""
        dense = functools.partial(nn.DenseGeneral, dtype=self.dtype)
        split = (self.heads, self.width // self.heads)
        q = dense(split, name="query")(queries)
        k = dense(split, name="key")(memory)
        v = dense(split, name="value")(memory)
        logits = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(logits / math.sqrt(split[1]), axis=-1)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights.astype(self.dtype), v)
        return dense(queries.shape[-1], axis=(-2, -1), name="out")(mixed), weights


class QueryTransformer(nn.Module):
    """A slot module: learned queries become the slots of a grid of features.

    Attributes:
      slots: number of queries, which is the number of slots.
      crop_frames: frames of a training crop, the unit of the position code along time.
      slot_size: size of queries and slots (4096 in the paper).
      layers: number of transformer layers (4 in the paper).
      width: size of all attention heads together.
      heads: number of attention heads.
      mlp: hidden size of each layer's MLP.
      frequency_octaves: octaves of the grid's position code along frequency.
      time_octaves: octaves of the grid's position code along time.
      dtype: of the products; parameters, slots and all sums of layers are float32.
    """

    slots: int
    crop_frames: int
    slot_size: int = 4096
    layers: int = 4
    width: int = 512
    heads: int = 8
    mlp: int = 1024
    frequency_octaves: int = 6
    time_octaves: int = 4
    dtype: DTypeLike = jnp.float32

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from positive(self, "slot_size", "layers", "width", "heads", "mlp")
        yield from positive(self, "frequency_octaves", "time_octaves")
        if self.width % self.heads:
            yield "heads", f"must divide width ({self.width})"

    @nn.compact
    def __call__(
        self,
        features: Features,
        queries: Float[Array, "batch slot embedding"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Slots:
        """Returns the slots of a batch of features, and where they looked.

        They start from ``queries``, if given, in place of the learned ones. A ``key`` is part of a
        slot module's contract; this one draws nothing.
        """
        del key
        grid = features.grid
        batch, frequencies, times, channels = grid.shape
        position = fourier_features(
            centres(frequencies) / frequencies,
            features.frames / self.crop_frames,
            self.frequency_octaves,
            self.time_octaves,
        )
        grid = grid.astype(jnp.float32) + nn.Dense(channels, name="position")(position)[None]
        norm = functools.partial(nn.LayerNorm, dtype=self.dtype)
        attend = functools.partial(Attention, self.width, self.heads, self.dtype)
        memory = norm(name="memory_norm")(grid.reshape(batch, -1, channels))

        learned = self.param("queries", nn.initializers.normal(1.0), (self.slots, self.slot_size))
        x = jnp.broadcast_to(learned[None], (batch, *learned.shape)) if queries is None else queries
        attention = []
        for layer in range(1, self.layers + 1):
            normed = norm(name=f"layer{layer}_self_norm")(x)
            y, _ = attend(name=f"layer{layer}_self")(normed, normed)
            x = x + y.astype(jnp.float32)
            normed = norm(name=f"layer{layer}_cross_norm")(x)
            y, weights = attend(name=f"layer{layer}_cross")(normed, memory)
            x = x + y.astype(jnp.float32)
            normed = norm(name=f"layer{layer}_mlp_norm")(x)
            y = nn.relu(nn.Dense(self.mlp, dtype=self.dtype, name=f"layer{layer}_mlp_in")(normed))
            y = nn.Dense(self.slot_size, dtype=self.dtype, name=f"layer{layer}_mlp_out")(y)
            x = x + y.astype(jnp.float32)
            attention.append(weights.reshape(*weights.shape[:-1], frequencies, times))
        return Slots(nn.LayerNorm(name="norm")(x), jnp.stack(attention, axis=1))
