"""The model: encoder, slot module and decoder, chosen by name from a config."""

import jax.numpy as jnp
from jax.typing import DTypeLike

from audioslots_jax import fields
from audioslots_jax.models.audioslots import AudioSlots
from audioslots_jax.models.decoders import DECODERS, SpatialBroadcastDecoder
from audioslots_jax.models.encoders import ENCODERS, ResNet
from audioslots_jax.models.interface import Features, Magnitudes, Masks, Slots
from audioslots_jax.models.positions import centres, fourier_features
from audioslots_jax.models.presence import Presence
from audioslots_jax.models.slots import SLOT_MODULES, QueryTransformer

PARTS = {"encoder": ENCODERS, "slot_module": SLOT_MODULES, "decoder": DECODERS}
# What parts are told beside their section of the config, if they have a field of the name.
GIVEN = ("slots", "crop_frames", "dtype", "remat")


def build(
    config: fields.Section,
    crop_frames: int,
    dtype: DTypeLike = jnp.float32,
    *,
    remat_decoder: bool = False,
) -> AudioSlots:
    """Returns the model of a config.

    Args:
      config: ``slots``, ``presence``, ``mute`` and, for each of `PARTS`, a ``name`` and the part's
        fields.
      crop_frames: frames of a training crop.
      dtype: of activations and products; parameters are float32 in any case.
      remat_decoder: compute the decoder's activations again on the way back, not keep them.

    Raises:
      UserError: for a name or a field that cannot be.
    """
    given = dict(zip(GIVEN, (config["slots"], crop_frames, dtype, remat_decoder), strict=True))
    parts = {
        name: fields.make(kinds, config[name], f"model.{name}", **given)
        for name, kinds in PARTS.items()
    }
    presence = Presence() if config.get("presence", False) else None
    return AudioSlots(**parts, presence=presence, mute=config.get("mute", False))


__all__ = [
    "PARTS",
    "AudioSlots",
    "Features",
    "Magnitudes",
    "Masks",
    "QueryTransformer",
    "ResNet",
    "Slots",
    "SpatialBroadcastDecoder",
    "build",
    "centres",
    "fourier_features",
]
