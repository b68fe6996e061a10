"""Permutation-invariant training: any pairwise cost inside one matched mean."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from audioslots_jax import matching

PairwiseCost = Callable[
    [Float[Array, "batch source *value"], Float[Array, "batch slot *value"]],
    Float[Array, "batch source slot"],
]
Assign = Callable[[Float[Array, "batch source slot"]], Int[Array, "batch source"]]


def pairwise_mse(
    targets: Float[Array, "batch source frequency time"],
    estimates: Float[Array, "batch slot frequency time"],
) -> Float[Array, "batch source slot"]:
    """Mean squared error between every target and every estimate."""
    difference = targets[:, :, None] - estimates[:, None, :]
    return jnp.mean(jnp.square(difference), axis=(-1, -2))


def matched_loss(
    targets: Float[Array, "batch source frequency time"],
    estimates: Float[Array, "batch slot frequency time"],
    assign: Assign = matching.assign,
    pairwise_cost: PairwiseCost = pairwise_mse,
) -> tuple[Float[Array, ""], Int[Array, "batch source"]]:
    """Mean cost of optimally matched pairs (paper, section 2, "loss").

    Targets and estimates are power-compressed magnitudes. The assignment is found without
    gradient; gradients flow through the matched pairs alone.

    Args:
      targets: of the sources.
      estimates: of the slots.
      assign: the solver, with the contract of `matching.assign`.
      pairwise_cost: of a target and an estimate.

    Returns:
      The loss, and the slot that was matched with every source.
    """
    costs = pairwise_cost(targets, estimates)
    assignment = assign(costs)
    return jnp.mean(matching.matched_costs(costs, assignment)), assignment
