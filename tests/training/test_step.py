import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import losses
from audioslots_jax.audio import compress
from audioslots_jax.data import Voices
from audioslots_jax.training.state import init_state, make_optimizer
from audioslots_jax.training.step import make_task, train_step


@pytest.fixture(scope="module")
def sources():
    return jnp.asarray(Voices(sample_rate=8000, samples=960).batch(0, 0, range(4), 4))


def start(config):
    task, optimizer = make_task(config), make_optimizer(config)
    state = init_state(task.model, optimizer, task.size(960), seed=0)
    return task, state, jax.jit(functools.partial(train_step, task, optimizer))


def test_loss_is_that_of_the_mixture_against_its_sources(tiny, sources):
    task, state, step = start(tiny)
    _, values = step(state, sources)
    mixture = compress(task.stft(jnp.sum(sources, axis=1)), tiny.stft.power)
    estimates = task.model.apply(state.params, mixture).spectrograms
    expected, _ = losses.matched_loss(compress(task.stft(sources), tiny.stft.power), estimates)
    assert float(values["loss"]) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("solver", ["scipy", "optax", "exhaustive"])
def test_one_batch_is_learned_whatever_the_solver(tiny, sources, solver):
    tiny.matching.solver = solver
    tiny.train.update(steps=60, learning_rate=1e-2)
    _, state, step = start(tiny)
    found = []
    for _ in range(60):
        state, values = step(state, sources)
        found.append(float(values["loss"]))
    assert int(state.step) == 60
    assert found[-1] < 0.6 * found[0]


def test_the_autoencoder_sees_every_source_alone(tiny, sources):
    tiny.model.slots = 1
    task, state, step = start(tiny)
    _, values = step(state, sources)
    alone = compress(task.stft(sources.reshape(8, 960)), tiny.stft.power)
    estimates = task.model.apply(state.params, alone).spectrograms[:, 0]
    expected = np.mean(np.square(np.asarray(alone - estimates)))
    assert float(values["loss"]) == pytest.approx(float(expected), rel=1e-5)
