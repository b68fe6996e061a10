"""Encoders by name: from a mixture to features."""

import flax.linen as nn

from audioslots_jax.models.encoders.frames import Frames
from audioslots_jax.models.encoders.resnet import ResNet

ENCODERS: dict[str, type[nn.Module]] = {"resnet": ResNet, "frames": Frames}
