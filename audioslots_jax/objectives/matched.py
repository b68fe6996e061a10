"""Permutation-invariant training: any pairwise cost inside one matched mean.

The assignment is found without gradient; gradients flow through the matched pairs alone (paper,
section 2, "loss").
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from audioslots_jax.matching import Assign, matched_costs


def matched_mean(
    costs: Float[Array, "batch source slot"], present: Bool[Array, "batch source"], assign: Assign
) -> Float[Array, " batch"]:
    """Returns the mean cost of each mixture's sources, each with the slot it is matched with.

    Sources that are not ``present`` cost nothing, and get a slot only where one is left over. A
    mixture of none costs 0; one with a cost that is not finite costs NaN. ``assign`` keeps the
    contract of `matching`.
    """
    exists = present[:, :, None]
    costs = jnp.where(exists, costs, jnp.zeros_like(costs))
    total = jnp.sum(matched_costs(costs, assign_present(costs, present, assign)), axis=1)
    return total / jnp.maximum(jnp.sum(present, axis=1, dtype=costs.dtype), 1)


def assign_present(
    costs: Float[Array, "batch source slot"], present: Bool[Array, "batch source"], assign: Assign
) -> Int[Array, "batch source"]:
    """Returns the slot of every source; those that are not ``present`` get what is left over."""
    exists = present[:, :, None]
    costs = jnp.where(exists, costs, jnp.zeros_like(costs))
    highest, lowest = (f(costs, axis=(1, 2), keepdims=True) for f in (jnp.max, jnp.min))
    # More than it can cost to let all others change their slots.
    last = highest + costs.shape[1] * (highest - lowest) + 1
    return assign(jnp.where(exists, costs, last))


def taken(
    costs: Float[Array, "batch source slot"], present: Bool[Array, "batch source"], assign: Assign
) -> Bool[Array, "batch slot"]:
    """Returns which slots are matched with a source that is present."""
    return holding(assign_present(costs, present, assign), present, costs.shape[2])


def holding(
    assignment: Int[Array, "batch source"], present: Bool[Array, "batch source"], slots: int
) -> Bool[Array, "batch {slots}"]:
    """Returns which of so many slots are assigned to a source that is present."""
    numbers = jnp.arange(slots, dtype=assignment.dtype)
    return jnp.any((assignment[:, :, None] == numbers[None, None]) & present[:, :, None], axis=1)
