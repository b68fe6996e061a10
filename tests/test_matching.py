"""Every solver against scipy, and what non-finite costs do."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from audioslots_jax import matching

SOLVERS = list(matching.SOLVERS)


def optimum(costs):
    return np.array([c[linear_sum_assignment(c)].sum() for c in costs])


SHAPES = [*((n, n) for n in range(1, 9)), (1, 3), (2, 4), (3, 7), (4, 1), (5, 3)]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("sources", "slots"), SHAPES)
def test_total_cost_is_minimal(solver, sources, slots):
    """No slot twice, as many sources as can be, and scipy's total."""
    rng = np.random.default_rng(sources)
    shape = (8, sources, slots)
    costs = np.concatenate(
        [
            rng.standard_normal(shape),
            rng.exponential(size=shape) * 1e6,
            rng.integers(0, 3, shape),  # ties
            np.zeros((1, sources, slots)),
        ]
    ).astype(np.float32)
    costs = jnp.asarray(costs)
    assignment = np.asarray(jax.jit(matching.assign, static_argnums=1)(costs, solver))
    assert assignment.dtype == np.int32
    for row in assignment:
        matched = row[row != matching.UNASSIGNED]
        assert len(set(matched)) == len(matched) == min(sources, slots)
        assert set(matched) <= set(range(slots))
    totals = matching.matched_costs(costs, jnp.asarray(assignment)).sum(axis=1)
    np.testing.assert_allclose(totals, optimum(np.asarray(costs, np.float64)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_vmap_is_a_larger_batch(solver):
    costs = jax.random.uniform(jax.random.key(0), (2, 3, 2, 3))
    mapped = jax.vmap(lambda c: matching.assign(c, solver))(costs)
    flat = matching.assign(costs.reshape(6, 2, 3), solver)
    np.testing.assert_array_equal(mapped.reshape(6, 2), flat)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_costs_never_pass_silently(solver, bad):
    costs = jax.random.uniform(jax.random.key(0), (4, 3, 3))
    expected = matching.assign(costs, solver)
    costs = costs.at[2, 1, 0].set(bad)
    assignment = matching.assign(costs, solver)
    assert np.all(assignment[2] == matching.UNASSIGNED)
    np.testing.assert_array_equal(assignment[np.array([0, 1, 3])], expected[np.array([0, 1, 3])])
    matched = matching.matched_costs(costs, assignment)
    assert np.all(np.isnan(matched[2]))
    assert np.all(np.isfinite(matched[:2]))


@pytest.mark.parametrize("solver", SOLVERS)
def test_gradient_flows_through_matched_costs_alone(solver):
    costs = jax.random.uniform(jax.random.key(0), (4, 3, 3))

    @jax.jit
    @jax.grad
    def gradient(costs):
        return jnp.sum(matching.matched_costs(costs, matching.assign(costs, solver)))

    expected = [np.eye(3)[linear_sum_assignment(c)[1]] for c in np.asarray(costs)]
    np.testing.assert_array_equal(gradient(costs), expected)


@pytest.mark.parametrize("solver", SOLVERS)
def test_relabelling_slots_relabels_the_assignment(solver):
    costs = jax.random.uniform(jax.random.key(0), (1, 4, 4))
    expected = np.asarray(matching.assign(costs, solver))[0]
    orders = np.array(list(itertools.permutations(range(4))))
    relabelled = matching.assign(costs[0][:, orders].swapaxes(0, 1), solver)
    found = np.take_along_axis(orders, np.asarray(relabelled), axis=1)
    np.testing.assert_array_equal(found, np.tile(expected, (len(orders), 1)))


def test_wrong_use_is_told():
    with pytest.raises(ValueError, match="unknown matching solver 'greedy'"):
        matching.assign(jnp.zeros((1, 2, 2)), "greedy")
    for shape in ((1, 9, 9), (1, 12, 6)):
        with pytest.raises(ValueError, match="'optax' or 'scipy'"):
            matching.assign(jnp.zeros(shape), "exhaustive")
