"""The spatial broadcast decoder in the paper's wording, on the factorised one's parameters."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from audioslots_jax.models import SpatialBroadcastDecoder, centres, fourier_features


def decode(
    decoder: SpatialBroadcastDecoder,
    params: Any,
    slots: Float[Array, "batch slot embedding"],
    size: tuple[int, int],
) -> Float[Array, "batch slot frequency time"]:
    """Returns what one network makes of every slot, copied over the grid, and position code."""
    tree = params["params"]
    position = fourier_features(
        centres(size[0]) / size[0],
        centres(size[1]) / decoder.crop_frames,
        decoder.frequency_octaves,
        decoder.time_octaves,
    )
    grid = (*slots.shape[:2], *size)
    x = jnp.concatenate(
        [
            jnp.broadcast_to(slots[:, :, None, None], (*grid, slots.shape[-1])),
            jnp.broadcast_to(position[None, None], (*grid, position.shape[-1])),
        ],
        axis=-1,
    )
    first = {
        "kernel": jnp.concatenate([tree["slot"]["kernel"], tree["position"]["kernel"]]),
        "bias": tree["position"]["bias"],
    }
    hidden = [first, *(tree[f"layer{layer}"] for layer in range(2, decoder.layers + 1))]
    for layer in hidden:
        x = nn.relu(nn.Dense(decoder.width).apply({"params": layer}, x))
    return nn.Dense(1).apply({"params": tree["output"]}, x)[..., 0]
