"""Spatial broadcast decoder (Watters et al. 2019; paper, section 2, "decoder").

The paper copies a slot over the F x T grid, appends a position code to each copy and applies one
shared fully connected network to every vector. The first layer of that network is linear in the
concatenation, so it is the sum of a term of the slot and a term of the position:
``W [s, p] + b = W_s s + (W_p p + b)``. Computing the terms apart gives the same function without
ever storing the F x T x (d + e) broadcast.
"""

import math
from collections.abc import Iterator

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from audioslots_jax.fields import positive
from audioslots_jax.models.interface import Features, Magnitudes
from audioslots_jax.models.positions import centres, fourier_features

# With ``remat``: the hidden layers of an eighth of the cells are in memory at a time.
BLOCKS = 8


class SpatialBroadcastDecoder(nn.Module):
    """A decoder of compressed magnitudes, of any size.

    Attributes:
      crop_frames: frames of a training crop, the unit of the position code along time.
      layers: number of hidden layers.
      width: size of each hidden layer.
      frequency_octaves: octaves of the position code along frequency.
      time_octaves: octaves of the position code along time.
      dtype: of the hidden layers; parameters, first layer and output are float32.
      remat: compute the hidden layers for some frequencies after the other, and once more on the
        way back, in place of keeping them: of all that training keeps they are the most.
    """

    crop_frames: int
    layers: int = 5
    width: int = 256
    frequency_octaves: int = 8
    time_octaves: int = 6
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from positive(self, "layers", "width", "frequency_octaves", "time_octaves")

    @nn.compact
    def __call__(
        self,
        slots: Float[Array, "batch slot embedding"],
        size: tuple[int, int],
        features: Features | None = None,
    ) -> Magnitudes:
        """Returns magnitudes of ``size`` (frequency bins, frames); linear, so they may be negative.

        The encoder's ``features`` are part of a decoder's contract; this one does not look at them.
        """
        del features
        frequency, time = centres(size[0]) / size[0], centres(size[1]) / self.crop_frames
        position = fourier_features(frequency, time, self.frequency_octaves, self.time_octaves)
        by_slot = nn.Dense(self.width, use_bias=False, name="slot")(slots)
        by_position = nn.Dense(self.width, name="position")(position)
        if not self.remat:
            return Magnitudes(_cells(self, by_slot, by_position))
        blocks = by_position.reshape(math.gcd(size[0], BLOCKS), -1, *by_position.shape[1:])
        decode_blocks = nn.scan(
            nn.remat(lambda decoder, carry, *inputs: (carry, _cells(decoder, *inputs))),
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=(nn.broadcast, 0),
            out_axes=2,
        )
        _, decoded = decode_blocks(self, (), by_slot, blocks)
        return Magnitudes(decoded.reshape(*slots.shape[:2], *size))


def _cells(
    decoder: SpatialBroadcastDecoder,
    by_slot: Float[Array, "batch slot width"],
    by_position: Float[Array, "frequency time width"],
) -> Float[Array, "batch slot frequency time"]:
    """Returns the shared network's output, from the two terms of its first layer on."""
    dtype = decoder.dtype
    x = nn.relu(by_slot[:, :, None, None, :] + by_position[None, None]).astype(dtype)
    for layer in range(2, decoder.layers + 1):
        x = nn.relu(nn.Dense(decoder.width, dtype=dtype, name=f"layer{layer}")(x))
    return nn.Dense(1, dtype=jnp.float32, name="output")(x)[..., 0]
