"""What is compared: parts that are registered by name, and the model sections that use them.

All share the encoder, the second dense layer of the masks, and masks that add up to 1.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from audioslots_jax.models import Features, Masks, Slots
from audioslots_jax.models.decoders import DECODERS
from audioslots_jax.models.decoders.mask import complex_masks
from audioslots_jax.models.slots import SLOT_MODULES
from audioslots_jax.models.slots.gated_pooling import own_units


class Queries(nn.Module):
    """Slots that hear nothing: the learned queries, whose gates open a part of the units each."""

    slots: int
    slot_size: int = 384

    @nn.compact
    def __call__(
        self,
        features: Features,
        queries: Float[Array, "batch slot embedding"] | None = None,
        key: Any = None,
    ) -> Slots:
        """Returns the same slots for every mixture."""
        learned = self.param("queries", own_units, (self.slots, self.slot_size))
        slots = jnp.broadcast_to(learned[None], (len(features.grid), *learned.shape))
        return Slots(slots if queries is None else queries)


class Attending(nn.Module):
    """Slots that attend to frames, as in the paper; what they hear adds nothing at first."""

    slots: int
    slot_size: int = 384
    layers: int = 2
    heads: int = 4

    @nn.compact
    def __call__(
        self,
        features: Features,
        queries: Float[Array, "batch slot embedding"] | None = None,
        key: Any = None,
    ) -> Slots:
        """Returns slots after some rounds of attention and dense layers."""
        slots = Queries(self.slots, self.slot_size, name="start")(features, queries).slots
        zeros = nn.initializers.zeros
        for layer in range(self.layers):
            attend = nn.MultiHeadDotProductAttention(
                self.heads, out_features=self.slot_size, out_kernel_init=zeros, name=f"look{layer}"
            )
            normed = nn.LayerNorm(name=f"look{layer}_norm")(slots)
            slots = slots + attend(normed, features.grid[:, 0])
            y = nn.LayerNorm(name=f"think{layer}_norm")(slots)
            y = nn.silu(nn.Dense(self.slot_size, name=f"think{layer}_in")(y))
            y = nn.Dense(self.slot_size, kernel_init=zeros, name=f"think{layer}_out")(y)
            slots = slots + y
        return Slots(slots)


class Split(nn.Module):
    """A dense layer per source, and no slots at all: the plain split."""

    @nn.compact
    def __call__(
        self,
        slots: Float[Array, "batch slot embedding"],
        size: tuple[int, int],
        features: Features,
    ) -> Masks:
        """Returns complex masks that add up to 1."""
        count, frequencies = slots.shape[1], size[0]
        made = nn.Dense(count * 2 * frequencies, name="output")(features.grid[:, 0])
        made = made.reshape(*made.shape[:2], count, 2 * frequencies)
        return complex_masks(jnp.swapaxes(made, 1, 2))


OWN: dict[str, tuple[dict[str, Callable], Callable]] = {
    "queries": (SLOT_MODULES, Queries),
    "attending": (SLOT_MODULES, Attending),
    "split": (DECODERS, Split),
}
VARIANTS = {
    "split": {"slot_module": {"name": "queries", "slot_size": 2}, "decoder": {"name": "split"}},
    "queries": {"slot_module": {"name": "queries"}, "decoder": {"name": "mask"}},
    "attending": {"slot_module": {"name": "attending"}, "decoder": {"name": "mask"}},
    "gated_pooling": {"slot_module": {"name": "gated_pooling"}, "decoder": {"name": "mask"}},
}


def register() -> None:
    """Gives the parts of this file their names in the library's registries."""
    for name, (registry, part) in OWN.items():
        registry[name] = part
