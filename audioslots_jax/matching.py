"""From pairwise costs to an assignment: one contract, several solvers.

Contract of every solver. ``costs[b, i, j]`` is the cost of giving source ``i`` to slot ``j``. The
result holds, for each source ``i``, the slot ``assignment[b, i]``: a permutation whose total cost
is minimal (which of several minimal ones is up to the solver). If any cost of a batch element is
not finite, its whole row is ``UNASSIGNED``; `matched_costs` turns that into NaN, so the loss shows
it and the training loop stops. No gradient flows through an assignment.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from scipy.optimize import linear_sum_assignment

UNASSIGNED = -1
EXHAUSTIVE_LIMIT = 8  # 8! = 40,320 permutations; one more would be 362,880.


def assign(
    costs: Float[Array, "batch source slot"], solver: str = "exhaustive"
) -> Int[Array, "batch source"]:
    """The slot of every source at minimal total cost; see the contract above.

    Args:
      costs: square matrices of pairwise costs.
      solver: ``"scipy"`` (`linear_sum_assignment` in a host callback), ``"optax"`` (Hungarian
        algorithm on the device) or ``"exhaustive"`` (all permutations on the device, n <= 8).

    Raises:
      ValueError: if the matrices are not square, the solver is unknown, or n is too large for it.
    """
    sources, slots = costs.shape[-2:]
    if sources != slots:
        raise ValueError(f"costs must be square matrices, got {sources} x {slots}.")
    if solver not in SOLVERS:
        raise ValueError(f"unknown matching solver {solver!r}; choose from {sorted(SOLVERS)}.")
    costs = jax.lax.stop_gradient(costs)
    finite = jnp.all(jnp.isfinite(costs), axis=(-1, -2))
    solvable = jnp.where(finite[:, None, None], costs, jnp.zeros_like(costs))
    return jnp.where(finite[:, None], SOLVERS[solver](solvable), UNASSIGNED)


def matched_costs(
    costs: Float[Array, "batch source slot"], assignment: Int[Array, "batch source"]
) -> Float[Array, "batch source"]:
    """The cost of every source under an assignment; NaN where it is `UNASSIGNED`."""
    chosen = jnp.maximum(assignment, 0)[..., None]
    matched = jnp.take_along_axis(costs, chosen, axis=-1)[..., 0]
    return jnp.where(assignment == UNASSIGNED, jnp.nan, matched)


def _scipy(costs: jax.Array) -> jax.Array:
    def solve(batch: Any) -> np.ndarray:
        return np.stack([linear_sum_assignment(matrix)[1] for matrix in np.asarray(batch)]).astype(
            np.int32
        )

    shape = jax.ShapeDtypeStruct(costs.shape[:-1], jnp.int32)
    return jax.pure_callback(solve, shape, costs)


def _optax(costs: jax.Array) -> jax.Array:
    def solve(matrix: jax.Array) -> jax.Array:
        rows, columns = optax.assignment.hungarian_algorithm(matrix)
        # The rows come back in the order in which they were augmented.
        return jnp.zeros(len(rows), jnp.int32).at[rows].set(columns.astype(jnp.int32))

    return jax.vmap(solve)(costs)


def _exhaustive(costs: jax.Array) -> jax.Array:
    n = costs.shape[-1]
    if n > EXHAUSTIVE_LIMIT:
        raise ValueError(
            f"the exhaustive solver tries all permutations and stops at n = {EXHAUSTIVE_LIMIT}, "
            f"got n = {n}; choose matching.solver 'optax' or 'scipy'."
        )
    permutations = jnp.asarray(list(itertools.permutations(range(n))), jnp.int32)
    # One addition per source, so that no (batch, permutation, source) array is ever stored.
    totals = sum(costs[:, i, permutations[:, i]] for i in range(n))
    return permutations[jnp.argmin(totals, axis=-1)]


SOLVERS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "scipy": _scipy,
    "optax": _optax,
    "exhaustive": _exhaustive,
}
