"""Decoders by name: from slots to magnitudes or masks."""

import flax.linen as nn

from audioslots_jax.models.decoders.mask import MaskDecoder
from audioslots_jax.models.decoders.spatial_broadcast import SpatialBroadcastDecoder

DECODERS: dict[str, type[nn.Module]] = {
    "spatial_broadcast": SpatialBroadcastDecoder,
    "mask": MaskDecoder,
}
