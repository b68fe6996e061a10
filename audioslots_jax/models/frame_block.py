"""A block of a network over frames.

It is the residual block of temporal convolutional networks for separation (Luo and Mesgarani 2019,
section II.C), with a norm per frame, so that a frame's result depends on its neighbours alone and
recordings of any length are processed alike.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

EXPANSION = 2  # hidden channels over outer ones


class FrameBlock(nn.Module):
    """Dense layers within frames, and between them a depthwise convolution over three frames.

    Attributes:
      dilation: distance between those frames.
      dtype: of the products; parameters and the sum with the input are float32.
    """

    dilation: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channel"], heard: Bool[Array, "batch time"]
    ) -> Float[Array, "batch time channel"]:
        """Returns frames of the same size; those not ``heard`` count as outside the recording."""
        norm = functools.partial(nn.LayerNorm, use_scale=False, use_bias=False, dtype=self.dtype)
        hidden = EXPANSION * x.shape[-1]
        y = norm()(x)
        y = nn.silu(nn.Dense(hidden, dtype=self.dtype, name="dense_in")(y))
        taps = self.param("taps", nn.initializers.normal(3**-0.5), (3, hidden))
        y = jnp.where(heard[..., None], y, jnp.zeros_like(y))
        y = _convolve(y, taps.astype(self.dtype), self.dilation)
        y = nn.silu(norm()(y))
        return x + nn.Dense(x.shape[-1], dtype=self.dtype, name="dense_out")(y).astype(x.dtype)


def _convolve(
    x: Float[Array, "batch time channel"], taps: Float[Array, "3 channel"], dilation: int
) -> Float[Array, "batch time channel"]:
    """Returns the depthwise convolution, with zeros around the recording."""
    # Products of shifted frames, which XLA fuses.
    padded = jnp.pad(x, ((0, 0), (dilation, dilation), (0, 0)))
    shifted = (padded[:, i * dilation : i * dilation + x.shape[1]] for i in range(3))
    before, here, after = (
        tap[None, None] * frames for tap, frames in zip(taps, shifted, strict=True)
    )
    return before + here + after
