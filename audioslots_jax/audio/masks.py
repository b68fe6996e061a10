"""Masks from magnitudes, and sources from masks (paper, section 3, "separation")."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Inexact

SILENT = 1e-12  # the largest magnitude of a cell that is nobody's


def ideal_binary_mask(
    magnitudes: Float[Array, "*batch slot frequency time"],
) -> Float[Array, "*batch slot frequency time"]:
    """Returns 1 where a slot has the largest magnitude, else 0; the first slot wins a tie."""
    slots = magnitudes.shape[-3]
    return jax.nn.one_hot(jnp.argmax(magnitudes, axis=-3), slots, axis=-3, dtype=magnitudes.dtype)


def wiener_like_mask(
    magnitudes: Float[Array, "*batch slot frequency time"],
) -> Float[Array, "*batch slot frequency time"]:
    """Returns ``e_i^2 / sum_j e_j^2`` (Erdogan et al. 2015); equal shares in silence."""
    # Dividing by the largest first keeps the squares inside the range of float32. It changes no
    # mask, so nothing is lost by leaving it out of the gradient, where it would overflow.
    largest = jax.lax.stop_gradient(jnp.max(magnitudes, axis=-3, keepdims=True))
    silent = largest <= SILENT
    scaled = jnp.where(silent, 1.0, magnitudes / jnp.where(silent, 1.0, largest))
    power = jnp.square(scaled)
    return power / jnp.sum(power, axis=-3, keepdims=True)


MASKS: dict[str, Callable] = {"ibm": ideal_binary_mask, "wiener": wiener_like_mask}


def apply_masks(
    masks: Inexact[Array, "*batch slot frequency time"],
    mixture: Complex[Array, "*batch bins time"],
) -> Complex[Array, "*batch slot bins time"]:
    """Returns the mixture's complex spectrogram seen through each mask.

    Masks are real or complex, and have one bin fewer than the mixture; the Nyquist bin uses the
    mask of the bin below it.
    """
    masks = jnp.concatenate([masks, masks[..., -1:, :]], axis=-2)
    return masks.astype(mixture.dtype) * mixture[..., None, :, :]
