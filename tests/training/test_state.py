import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.training.state import make_optimizer, make_schedule


def test_warm_up_is_linear_and_decay_a_cosine(tiny):
    tiny.train.update(learning_rate=0.5, warmup_steps=10, steps=110)
    schedule = make_schedule(tiny)
    for step in range(111):
        done = (step - 10) / 100
        expected = 0.05 * step if step < 10 else 0.25 * (1 + math.cos(math.pi * done))
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)


def test_a_run_may_be_shorter_than_its_warm_up(tiny):
    tiny.train.update(learning_rate=0.5, warmup_steps=10, steps=4)
    schedule = make_schedule(tiny)
    assert [float(schedule(step)) for step in range(5)] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_optimizer_is_adam_on_clipped_gradients(tiny, clip_norm):
    """Against Adam (Kingma & Ba 2015, algorithm 1) written out in numpy."""
    tiny.train.update(learning_rate=0.1, warmup_steps=1, steps=50, clip_norm=clip_norm)
    optimizer, schedule = make_optimizer(tiny), make_schedule(tiny)
    params = jnp.array([1.0, -2.0])
    state = optimizer.init(params)
    expected = np.array([1.0, -2.0])
    m, v = np.zeros(2), np.zeros(2)
    for step in range(5):
        gradient = np.array([3.0, -4.0]) * (step + 1)
        updates, state = optimizer.update(jnp.asarray(gradient), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        if clip_norm:
            gradient = gradient * min(1, clip_norm / np.linalg.norm(gradient))
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        corrected = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
        expected -= float(schedule(step)) * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    np.testing.assert_allclose(params, expected, rtol=1e-5)
