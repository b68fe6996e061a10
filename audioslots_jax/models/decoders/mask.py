"""A decoder that paints masks: every slot takes its part of what the encoder knows of a frame."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from audioslots_jax.models.interface import Features, Masks, only_frames


class MaskDecoder(nn.Module):
    """A decoder of complex masks of the mixture's spectrogram.

    The encoder's frames go through a dense layer, whose units every slot multiplies: a slot is a
    gate over them, and nothing reaches a mask without passing it. A second dense layer, shared by
    all slots, makes the masks. What they lack of 1 in every cell is divided among them then, so
    that the estimates add up to the mixture (Wisdom et al. 2019, mixture consistency).

    Attributes:
      adds_up: whether they do. In mixtures with noise they must not: it belongs to nobody.
      dtype: of the products; parameters and masks are float32.
    """

    adds_up: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        slots: Float[Array, "batch slot embedding"],
        size: tuple[int, int],
        features: Features,
    ) -> Masks:
        """Returns complex masks of ``size`` (frequency bins, frames), one per slot."""
        frequencies, _ = size
        hidden = nn.Dense(slots.shape[-1], dtype=self.dtype, name="hidden")(only_frames(features))
        gated = hidden[:, None] * slots[:, :, None].astype(self.dtype)
        parts = nn.Dense(2 * frequencies, dtype=self.dtype, name="output")(gated)
        return complex_masks(parts, adds_up=self.adds_up)


def complex_masks(parts: Float[Array, "batch slot time part"], *, adds_up: bool = True) -> Masks:
    """Returns masks (batch, slot, frequency, time), that add up to 1 over the slots if asked to.

    Half of the ``parts`` of a frame are real parts, by frequency, and half imaginary ones; parts of
    zeros are masks that are all alike.
    """
    real, imaginary = jnp.split(jnp.swapaxes(parts.astype(jnp.float32), 2, 3), 2, axis=2)
    masks = jax.lax.complex(real, imaginary)
    missing = 1 - jnp.sum(masks, axis=1, keepdims=True) if adds_up else 1.0
    return Masks(masks + missing / masks.shape[1])
