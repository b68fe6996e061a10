"""Permutation-invariant training: any pairwise cost inside one matched mean.

The assignment is found without gradient; gradients flow through the matched pairs alone (paper,
section 2, "loss").
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from audioslots_jax.matching import Assign, matched_costs


def matched_mean(
    costs: Float[Array, "batch source slot"], present: Bool[Array, "batch source"], assign: Assign
) -> Float[Array, " batch"]:
    """Returns the mean cost of each mixture's sources, each with the slot it is matched with.

    Sources that are not ``present`` cost nothing, whichever slot they take. A mixture of none costs
    0; one with a cost that is not finite costs NaN. ``assign`` keeps the contract of `matching`.
    """
    costs = jnp.where(present[:, :, None], costs, jnp.zeros_like(costs))
    total = jnp.sum(matched_costs(costs, assign(costs)), axis=1)
    return total / jnp.maximum(jnp.sum(present, axis=1, dtype=costs.dtype), 1)
