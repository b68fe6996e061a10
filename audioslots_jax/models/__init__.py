"""The model: encoder, slot module and decoder, chosen by name from a config."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from audioslots_jax.models.attention import QueryTransformer, SlotOutputs
from audioslots_jax.models.audioslots import AudioSlots, Outputs
from audioslots_jax.models.decoder import SpatialBroadcastDecoder
from audioslots_jax.models.positions import fourier_features
from audioslots_jax.models.resnet import ResNet

PARTS: dict[str, dict[str, type[nn.Module]]] = {
    "encoder": {"resnet": ResNet},
    "slot_module": {"query_transformer": QueryTransformer},
    "decoder": {"spatial_broadcast": SpatialBroadcastDecoder},
}


def build(
    config: ConfigDict, dtype: DTypeLike = jnp.float32, *, remat_decoder: bool = False
) -> AudioSlots:
    """The model of a config.

    Args:
      config: ``slots`` and, for each part, a ``name`` and the part's fields.
      dtype: of activations and products; parameters are float32 in any case.
      remat_decoder: compute the decoder's activations again on the way back, in place of keeping
        them.
    """

    def part(kind: str, **extra: Any) -> nn.Module:
        fields = {key: value for key, value in config[kind].items() if key != "name"}
        return PARTS[kind][config[kind]["name"]](**fields, dtype=dtype, **extra)

    return AudioSlots(
        encoder=part("encoder"),
        slot_module=part("slot_module", slots=config["slots"]),
        decoder=part("decoder", remat=remat_decoder),
    )


__all__ = [
    "PARTS",
    "AudioSlots",
    "Outputs",
    "QueryTransformer",
    "ResNet",
    "SlotOutputs",
    "SpatialBroadcastDecoder",
    "build",
    "fourier_features",
]
