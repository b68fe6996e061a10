import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from audioslots_jax import losses
from audioslots_jax.audio import compress
from audioslots_jax.data import Voices
from audioslots_jax.training.sharding import make_mesh
from audioslots_jax.training.state import make_optimizer
from audioslots_jax.training.step import make_task, train_step
from tests.runs import new_state


@pytest.fixture(scope="module")
def sources():
    return jnp.asarray(Voices(sample_rate=8000, samples=960).batch(0, 0, range(4), 4))


def start(config, **options):
    return _start(FrozenConfigDict(config), **options)


@functools.cache  # several tests compare with the same step
def _start(config, **options):
    task, optimizer = make_task(config), make_optimizer(config)
    state = new_state(config, average="ema_decay" in options)
    return task, state, jax.jit(functools.partial(train_step, task, optimizer, **options))


def test_loss_is_that_of_the_mixture_against_its_sources(tiny, sources):
    task, state, step = start(tiny)
    _, values = step(state, sources)
    mixture = compress(task.stft(jnp.sum(sources, axis=1)), tiny.stft.power)
    estimates = jax.jit(task.model.apply)(state.params, mixture).spectrograms
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
    estimates = jax.jit(task.model.apply)(state.params, alone).spectrograms[:, 0]
    expected = np.mean(np.square(np.asarray(alone - estimates)))
    assert float(values["loss"]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("solver", ["scipy", "optax", "exhaustive"])
def test_a_mesh_changes_nothing(tiny, sources, solver):
    tiny.matching.solver = solver
    _, state, alone = start(tiny)
    task, optimizer = make_task(tiny, make_mesh()), make_optimizer(tiny)
    _, found = jax.jit(functools.partial(train_step, task, optimizer))(state, sources)
    for name, value in alone(state, sources)[1].items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-6)


@pytest.mark.parametrize("slots", [1, 2])
def test_micro_batches_equal_one_batch(tiny, sources, slots):
    tiny.model.slots = slots
    _, state, whole = start(tiny)
    _, _, parted = start(tiny, micro_batches=2)
    expected_state, expected = whole(state, sources)
    found_state, found = parted(state, sources)
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-5)
    moments = [s.opt_state[0].mu for s in (found_state, expected_state)]
    for one, other in zip(*map(jax.tree.leaves, moments), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6 * float(expected["gradient_norm"]))


def test_a_decoder_computed_twice_needs_less_and_changes_nothing(tiny, sources):
    tiny.model.decoder.update(layers=4, width=32)
    results, allocated = [], []
    for remat in (False, True):
        tiny.train.remat_decoder = remat
        _, state, step = start(tiny)
        results.append(step(state, sources))
        memory = step.lower(state, sources).compile().memory_analysis()
        allocated.append(memory.temp_size_in_bytes)
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert allocated[1] < 0.6 * allocated[0]


def test_the_average_follows_the_parameters(tiny, sources):
    """Against the recursion in numpy, with the decay that begins at that of a plain average."""
    _, state, step = start(tiny, ema_decay=0.3)
    expected = [np.asarray(x) for x in jax.tree.leaves(state.params)]
    for number in range(5):
        state, _ = step(state, sources)
        decay = min(0.3, (1 + number) / (10 + number))
        new = jax.tree.leaves(state.params)
        expected = [
            decay * e + (1 - decay) * np.asarray(x) for e, x in zip(expected, new, strict=True)
        ]
    for found, wanted in zip(jax.tree.leaves(state.scored), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    assert start(tiny)[1].scored is not None
    assert start(tiny)[1].average == ()


def test_bfloat16_computes_what_float32_does_and_keeps_float32(tiny, sources):
    """Flax's norms mix dtypes on purpose, which strict promotion refuses."""
    values = {}
    for precision in ("float32", "bfloat16"):
        tiny.precision = precision
        with jax.numpy_dtype_promotion("standard"):
            task, state, step = start(tiny)
            new, values[precision] = step(state, sources)
            outputs = jax.eval_shape(task.apply, state.params, task.spectrograms(sources))
        assert {x.dtype for x in jax.tree.leaves(new)} == {np.dtype("float32"), np.dtype("int32")}
        assert outputs.spectrograms.dtype == outputs.slots.dtype == np.float32
        assert outputs.grid.dtype == jnp.dtype(precision)
    # bfloat16 has 8 bits of mantissa: each product is good to 0.4 %.
    for name, value in values["float32"].items():
        assert float(values["bfloat16"][name]) == pytest.approx(float(value), rel=0.02)
        assert float(values["bfloat16"][name]) != float(value)
