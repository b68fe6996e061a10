"""Which slots hold a source: a logit for each."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class Presence(nn.Module):
    """A dense layer, shared by all slots; 0 at first, which is a probability of a half."""

    @nn.compact
    def __call__(self, slots: Float[Array, "batch slot embedding"]) -> Float[Array, "batch slot"]:
        """Returns the logit of every slot's probability to hold a source."""
        normed = nn.LayerNorm(name="norm")(slots.astype(jnp.float32))
        logits = nn.Dense(1, kernel_init=nn.initializers.zeros, name="logit")(normed)
        return logits[..., 0]
