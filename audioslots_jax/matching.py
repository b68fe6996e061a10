"""From pairwise costs to an assignment: one contract, several solvers.

Contract of every solver. ``costs[b, i, j]`` is the cost of giving source ``i`` to slot ``j``; there
may be more slots than sources, or fewer. The result holds, for each source ``i``, its slot
``assignment[b, i]``. No slot is given twice, as many sources as possible get one, and their total
cost is minimal (which of several minimal assignments is up to the solver). A source that gets no
slot has ``UNASSIGNED``. If any cost of a batch element is not finite, all its sources are
``UNASSIGNED``, and `matched_costs` is NaN, so that the loss shows it and the training stops. No
gradient flows through an assignment.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

UNASSIGNED = -1
EXHAUSTIVE_LIMIT = math.factorial(8)  # assignments that are tried for each matrix

Assign = Callable[[Float[Array, "batch source slot"]], Int[Array, "batch source"]]


def assign(
    costs: Float[Array, "batch source slot"], solver: str = "exhaustive"
) -> Int[Array, "batch source"]:
    """Returns the slot of every source at minimal total cost; see the contract above.

    The solver is ``"scipy"`` (`linear_sum_assignment` in a host callback), ``"optax"`` (Hungarian
    algorithm on the device) or ``"exhaustive"`` (all assignments on the device, up to
    `EXHAUSTIVE_LIMIT` of them).

    Raises:
      ValueError: if the solver is unknown, or there are too many assignments for it.
    """
    if solver not in SOLVERS:
        raise ValueError(f"unknown matching solver {solver!r}; choose from {sorted(SOLVERS)}.")
    costs = jax.lax.stop_gradient(costs)
    finite = solvable(costs)
    safe = jnp.where(finite[:, None, None], costs, jnp.zeros_like(costs))
    return jnp.where(finite[:, None], SOLVERS[solver](safe), UNASSIGNED)


def solvable(costs: Float[Array, "batch source slot"]) -> Bool[Array, " batch"]:
    """Returns which matrices have finite costs alone."""
    return jnp.all(jnp.isfinite(costs), axis=(-1, -2))


def matched_costs(
    costs: Float[Array, "batch source slot"], assignment: Int[Array, "batch source"]
) -> Float[Array, "batch source"]:
    """Returns the cost of every source under an assignment; 0 where it got no slot.

    Where any cost of a batch element is not finite, all its matched costs are NaN.
    """
    chosen = jnp.maximum(assignment, 0)[..., None]
    matched = jnp.take_along_axis(costs, chosen, axis=-1)[..., 0]
    matched = jnp.where(assignment == UNASSIGNED, 0.0, matched)
    return jnp.where(solvable(costs)[:, None], matched, jnp.nan)


def _scipy(costs: jax.Array) -> jax.Array:
    # It is slow to import, and those who only separate need no solver.
    from scipy.optimize import linear_sum_assignment

    def solve(batch: Any) -> np.ndarray:
        matrices = np.asarray(batch)
        assignment = np.full(matrices.shape[:-1], UNASSIGNED, np.int32)
        for index in np.ndindex(matrices.shape[:-2]):
            matched, slots = linear_sum_assignment(matrices[index])
            assignment[index][matched] = slots
        return assignment

    shape = jax.ShapeDtypeStruct(costs.shape[:-1], jnp.int32)
    return jax.pure_callback(solve, shape, costs, vmap_method="expand_dims")


def _optax(costs: jax.Array) -> jax.Array:
    from optax.assignment import hungarian_algorithm  # of no use to those who only separate

    def solve(matrix: jax.Array) -> jax.Array:
        rows, columns = hungarian_algorithm(matrix)
        # The rows come back in the order in which they were augmented.
        unassigned = jnp.full(matrix.shape[0], UNASSIGNED, jnp.int32)
        return unassigned.at[rows].set(columns.astype(jnp.int32))

    return jax.vmap(solve)(costs)


def _exhaustive(costs: jax.Array) -> jax.Array:
    sources, slots = costs.shape[-2:]
    few, many = sorted((sources, slots))
    if math.perm(many, few) > EXHAUSTIVE_LIMIT:
        raise ValueError(
            f"the exhaustive solver tries up to {EXHAUSTIVE_LIMIT} assignments, and {sources} "
            f"sources have {math.perm(many, few)} to {slots} slots; choose matching.solver 'optax' "
            "or 'scipy'."
        )
    # (arrangement, few): which of the many each of the few takes.
    taken = np.asarray(list(itertools.permutations(range(many), few)), np.int32)
    pairs: list[tuple[Any, Any]]
    if sources <= slots:
        arrangements, pairs = taken, [(i, taken[:, i]) for i in range(few)]
    else:
        arrangements = np.full((len(taken), sources), UNASSIGNED, np.int32)
        np.put_along_axis(arrangements, taken, np.arange(few, dtype=np.int32)[None], axis=1)
        pairs = [(taken[:, j], j) for j in range(few)]
    # One addition per pair, so that no (batch, arrangement, pair) array is ever stored.
    totals = sum(costs[:, i, j] for i, j in pairs)
    return jnp.asarray(arrangements)[jnp.argmin(totals, axis=-1)]


SOLVERS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "scipy": _scipy,
    "optax": _optax,
    "exhaustive": _exhaustive,
}
