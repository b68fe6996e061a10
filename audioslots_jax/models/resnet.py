"""ResNet encoder for spectrograms (He et al. 2016), with group norm and an unstrided root block.

The paper uses a ResNet-34 whose root stride is reduced so that a 256 x 64 spectrogram becomes a
32 x 8 grid. With a root of stride 1, no max-pooling and stage strides 1, 2, 2, 2 that is exact.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


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
        """Features at the block's stride and width."""
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
    """An encoder: spectrogram in, the features of every stage out, by name.

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

    @nn.compact
    def __call__(
        self, spectrogram: Float[Array, "batch frequency time"]
    ) -> dict[str, Float[Array, "batch _ _ _"]]:
        """Returns ``"root"``, ``"stage1"``, ... in order: (batch, frequency, time, channel)."""
        strides = (self.root_stride, self.root_stride)
        x = spectrogram[..., None]
        x = nn.Conv(
            self.root_width, (3, 3), strides, use_bias=False, dtype=self.dtype, name="root"
        )(x)
        x = nn.relu(nn.GroupNorm(self.groups, dtype=self.dtype, name="root_norm")(x))
        features = {"root": x}
        stages = zip(self.blocks, self.widths, self.strides, strict=True)
        for stage, (blocks, width, stride) in enumerate(stages, start=1):
            for block in range(blocks):
                x = BasicBlock(
                    width,
                    stride if block == 0 else 1,
                    self.groups,
                    self.dtype,
                    name=f"stage{stage}_block{block + 1}",
                )(x)
            features[f"stage{stage}"] = x
        return features
