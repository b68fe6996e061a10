"""Whether a slot holds a source: what the model says, against what was matched."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from audioslots_jax.data.batch import Batch
from audioslots_jax.errors import UserError
from audioslots_jax.matching import Assign
from audioslots_jax.objectives.matched import taken
from audioslots_jax.objectives.matched_snr import pairwise_negative_snr
from audioslots_jax.separator import Estimates

LIMIT_DB = 30.0


@dataclasses.dataclass(frozen=True)
class Presence:
    """Cross entropy of every slot's logit; a slot holds a source if the best SNR gives it one.

    That is the SNR of `matched_snr` with its default limit.
    """

    def __call__(
        self, estimates: Estimates, batch: Batch, assign: Assign
    ) -> Float[Array, " batch"]:
        """Returns the loss of every mixture, the mean over its slots, in nats."""
        if "presence" not in estimates.named:
            raise UserError("config.objectives.presence needs --config.model.presence=True.")
        costs = pairwise_negative_snr(batch.sources, estimates.waveforms, batch.mixture, LIMIT_DB)
        held = taken(costs, batch.present, assign)
        logits = estimates.named["presence"].astype(jnp.float32)
        entropy = jax.nn.softplus(logits) - jnp.where(held, logits, 0.0)
        return jnp.mean(entropy, axis=1)
