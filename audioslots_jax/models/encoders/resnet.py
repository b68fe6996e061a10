"""ResNet encoder for spectrograms (He et al. 2016), with group norm and an unstrided root block.

It reads the mixture's magnitudes alone. The paper uses a ResNet-34 whose root stride is reduced so
that a 256 x 64 spectrogram becomes a 32 x 8 grid. With a root of stride 1, no max-pooling and stage
strides 1, 2, 2, 2 that is exact.
"""

import functools
import math
from collections.abc import Iterator, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Complex, Float

from audioslots_jax.fields import positive
from audioslots_jax.models.interface import Features
from audioslots_jax.models.positions import centres


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; the second norm starts at zero (identity block)."""

    width: int
    stride: int
    groups: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frequency time channel"]
    ) -> Float[Array, "batch frequency_out time_out width"]:
        """Returns features at the block's stride and width."""
        strides = (self.stride, self.stride)
        conv = functools.partial(nn.Conv, self.width, use_bias=False, dtype=self.dtype)
        norm = functools.partial(nn.GroupNorm, self.groups, dtype=self.dtype)
        shortcut = x
        if x.shape[-1] != self.width or self.stride != 1:
            shortcut = conv(kernel_size=(1, 1), strides=strides, name="shortcut")(x)
            shortcut = norm(name="shortcut_norm")(shortcut)
        y = conv(kernel_size=(3, 3), strides=strides, name="conv1")(x)
        y = nn.relu(norm(name="norm1")(y))
        y = conv(kernel_size=(3, 3), name="conv2")(y)
        y = norm(scale_init=nn.initializers.zeros, name="norm2")(y)
        return nn.relu(shortcut + y)


class ResNet(nn.Module):
    """An encoder whose grid is the output of its last stage.

    Attributes:
      blocks: number of basic blocks in each stage; (3, 4, 6, 3) is ResNet-34.
      widths: channels of each stage.
      strides: stride of each stage's first block, on both axes.
      root_width: channels of the root convolution.
      root_stride: stride of the root convolution, on both axes.
      groups: groups of the group norm; divides every width.
      dtype: of activations and products. Parameters and the statistics of the norms are float32.
    """

    blocks: Sequence[int] = (3, 4, 6, 3)
    widths: Sequence[int] = (64, 128, 256, 512)
    strides: Sequence[int] = (1, 2, 2, 2)
    root_width: int = 64
    root_stride: int = 1
    groups: int = 32
    dtype: DTypeLike = jnp.float32

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from positive(self, "root_width", "root_stride", "groups")
        for name in ("blocks", "widths", "strides"):
            if min(getattr(self, name)) < 1:
                yield name, "must be at least 1 each"
        if not len(self.blocks) == len(self.widths) == len(self.strides):
            yield "blocks", "must be as long as widths and strides"
        for width in (self.root_width, *self.widths):
            if width % self.groups:
                yield "groups", f"must divide every width ({width})"

    @nn.compact
    def __call__(self, mixture: Complex[Array, "batch frequency time"]) -> Features:
        """Returns the features of every stage; ``named`` are ``"root"``, ``"stage1"``, ..."""
        strides = (self.root_stride, self.root_stride)
        conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype)
        x = conv(self.root_width, (3, 3), strides, name="root")(jnp.abs(mixture)[..., None])
        x = nn.relu(nn.GroupNorm(self.groups, dtype=self.dtype, name="root_norm")(x))
        named = {"root": x}
        stages = zip(self.blocks, self.widths, self.strides, strict=True)
        for stage, (blocks, width, stride) in enumerate(stages, start=1):
            for block in range(1, blocks + 1):
                name = f"stage{stage}_block{block}"
                block_stride = stride if block == 1 else 1
                x = BasicBlock(width, block_stride, self.groups, self.dtype, name=name)(x)
            named[f"stage{stage}"] = x
        frames = centres(x.shape[2], self.root_stride * math.prod(self.strides))
        return Features(x, frames, named)
