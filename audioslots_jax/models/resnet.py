"""ResNet encoder for spectrograms (He et al. 2016), with group norm and an unstrided root block.

The paper uses a ResNet-34 whose root stride is reduced so that a 256 x 64 spectrogram becomes a
32 x 8 grid. With a root of stride 1, no max-pooling and stage strides 1, 2, 2, 2 that is exact.
"""

from collections.abc import Sequence

import flax.linen as nn
from jaxtyping import Array, Float


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; the second norm starts at zero (identity block)."""

    width: int
    stride: int
    groups: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frequency time channel"]
    ) -> Float[Array, "batch frequency_out time_out width"]:
        """Features at the block's stride and width."""
        strides = (self.stride, self.stride)
        shortcut = x
        if x.shape[-1] != self.width or self.stride != 1:
            shortcut = nn.Conv(self.width, (1, 1), strides, use_bias=False, name="shortcut")(x)
            shortcut = nn.GroupNorm(self.groups, name="shortcut_norm")(shortcut)
        y = nn.Conv(self.width, (3, 3), strides, use_bias=False, name="conv1")(x)
        y = nn.relu(nn.GroupNorm(self.groups, name="norm1")(y))
        y = nn.Conv(self.width, (3, 3), use_bias=False, name="conv2")(y)
        y = nn.GroupNorm(self.groups, scale_init=nn.initializers.zeros, name="norm2")(y)
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
    """

    blocks: Sequence[int] = (3, 4, 6, 3)
    widths: Sequence[int] = (64, 128, 256, 512)
    strides: Sequence[int] = (1, 2, 2, 2)
    root_width: int = 64
    root_stride: int = 1
    groups: int = 32

    @nn.compact
    def __call__(
        self, spectrogram: Float[Array, "batch frequency time"]
    ) -> dict[str, Float[Array, "batch _ _ _"]]:
        """Returns ``"root"``, ``"stage1"``, ... in order: (batch, frequency, time, channel)."""
        strides = (self.root_stride, self.root_stride)
        x = spectrogram[..., None]
        x = nn.Conv(self.root_width, (3, 3), strides, use_bias=False, name="root")(x)
        x = nn.relu(nn.GroupNorm(self.groups, name="root_norm")(x))
        features = {"root": x}
        stages = zip(self.blocks, self.widths, self.strides, strict=True)
        for stage, (blocks, width, stride) in enumerate(stages, start=1):
            for block in range(blocks):
                x = BasicBlock(
                    width,
                    stride if block == 0 else 1,
                    self.groups,
                    name=f"stage{stage}_block{block + 1}",
                )(x)
            features[f"stage{stage}"] = x
        return features
