import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import losses, matching


def spectrograms(slots, seed):
    return jax.random.uniform(jax.random.key(seed), (3, slots, 4, 5))


@pytest.mark.parametrize("solver", list(matching.SOLVERS))
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_loss_is_the_best_over_all_permutations(slots, solver):
    targets, estimates = spectrograms(slots, 0), spectrograms(slots, 1)
    expected = np.mean(
        [
            min(
                np.mean((target - estimate[jnp.array(order)]) ** 2)
                for order in itertools.permutations(range(slots))
            )
            for target, estimate in zip(targets, estimates, strict=True)
        ]
    )
    loss, _ = losses.matched_loss(
        targets, estimates, functools.partial(matching.assign, solver=solver)
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_loss_and_gradient_do_not_depend_on_the_order_of_slots():
    targets, estimates = spectrograms(3, 0), spectrograms(3, 1)
    grad = jax.value_and_grad(lambda e: losses.matched_loss(targets, e)[0])
    loss, gradient = grad(estimates)
    for order in map(np.array, itertools.permutations(range(3))):
        other, other_gradient = grad(estimates[:, order])
        assert float(other) == pytest.approx(float(loss), rel=1e-6)
        np.testing.assert_allclose(other_gradient, gradient[:, order], rtol=1e-5)


def test_another_cost_can_be_put_in():
    def pairwise_mae(targets, estimates):
        return jnp.mean(jnp.abs(targets[:, :, None] - estimates[:, None]), axis=(-1, -2))

    targets = spectrograms(2, 0)
    loss, assignment = losses.matched_loss(
        targets, targets[:, ::-1] + 0.1, pairwise_cost=pairwise_mae
    )
    assert float(loss) == pytest.approx(0.1, rel=1e-4)
    np.testing.assert_array_equal(assignment, [[1, 0]] * 3)


def test_a_nan_reaches_the_loss():
    estimates = spectrograms(2, 1).at[0, 0, 0, 0].set(jnp.nan)
    assert np.isnan(losses.matched_loss(spectrograms(2, 0), estimates)[0])
