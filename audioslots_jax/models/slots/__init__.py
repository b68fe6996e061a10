"""Slot modules by name: from features to an unordered set of slots."""

import flax.linen as nn

from audioslots_jax.models.slots.gated_pooling import GatedPooling
from audioslots_jax.models.slots.query_transformer import QueryTransformer
from audioslots_jax.models.slots.slot_attention import SlotAttention

SLOT_MODULES: dict[str, type[nn.Module]] = {
    "query_transformer": QueryTransformer,
    "gated_pooling": GatedPooling,
    "slot_attention": SlotAttention,
}
