import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from audioslots_jax import Batch
from audioslots_jax.data import Voices
from audioslots_jax.devices.mesh import make_mesh
from audioslots_jax.training import optimizers
from audioslots_jax.training.step import make_task, train_step
from tests.runs import new_state


@pytest.fixture(scope="module")
def batch():
    voices = Voices(sample_rate=8000, samples=960).batch(0, 0, range(4), 4)
    return Batch(*map(jnp.asarray, voices))


def start(config, **options):
    return _start(FrozenConfigDict(config), **options)


@functools.cache  # several tests compare with the same step
def _start(config, **options):
    task, optimizer = make_task(config), optimizers.build(config)
    state = new_state(config, average="ema_decay" in options)
    return task, state, jax.jit(functools.partial(train_step, task, optimizer, **options))


def magnitudes(task, waveforms):
    return np.asarray(task.separator.front_end.magnitudes(waveforms))


def test_loss_is_that_of_the_mixture_against_its_sources(tiny, batch):
    """The paper's, written out for two sources."""
    task, state, step = start(tiny)
    _, values = step(state, batch)
    estimates = np.asarray(jax.jit(task.separator)(state.params, batch.mixture).magnitudes)
    targets = magnitudes(task, batch.sources)
    straight, swapped = (
        np.square(targets - e).mean(axis=(1, 2, 3)) for e in (estimates, estimates[:, ::-1])
    )
    expected = np.minimum(straight, swapped).mean()
    assert float(values["loss"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("solver", ["scipy", "optax", "exhaustive"])
def test_one_batch_is_learned_whatever_the_solver(tiny, batch, solver):
    tiny.matching.solver = solver
    tiny.train.update(steps=60, learning_rate=1e-2)
    _, state, step = start(tiny)
    losses = []
    for _ in range(60):
        state, values = step(state, batch)
        losses.append(float(values["loss"]))
    assert int(state.step) == 60
    assert losses[-1] < 0.6 * losses[0]


def test_the_autoencoder_sees_every_source_alone(tiny, batch):
    tiny.model.slots = 1
    task, state, step = start(tiny)
    _, values = step(state, batch)
    alone = batch.sources.reshape(8, 960)
    estimates = jax.jit(task.separator)(state.params, alone).magnitudes[:, 0]
    expected = np.mean(np.square(magnitudes(task, alone) - np.asarray(estimates)))
    assert float(values["loss"]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("solver", ["scipy", "optax"])
def test_a_mesh_changes_nothing(tiny, batch, solver):
    tiny.matching.solver = solver
    _, state, alone = start(tiny)
    task, optimizer = make_task(tiny, make_mesh()), optimizers.build(tiny)
    _, found = jax.jit(functools.partial(train_step, task, optimizer))(state, batch)
    for name, value in alone(state, batch)[1].items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-6)


@pytest.mark.parametrize("slots", [1, 2])
def test_micro_batches_equal_one_batch(tiny, batch, slots):
    tiny.model.slots = slots
    _, state, whole = start(tiny)
    _, _, parted = start(tiny, micro_batches=2)
    expected_state, expected = whole(state, batch)
    found_state, found = parted(state, batch)
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-5)
    moments = [s.opt_state[0].mu for s in (found_state, expected_state)]
    for one, other in zip(*map(jax.tree.leaves, moments), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6 * float(expected["gradient_norm"]))


def test_a_decoder_computed_twice_needs_less_and_changes_nothing(tiny, batch):
    tiny.model.decoder.update(layers=4, width=32)
    results, allocated = [], []
    for remat in (False, True):
        tiny.train.remat_decoder = remat
        _, state, step = start(tiny)
        results.append(step(state, batch))
        memory = step.lower(state, batch).compile().memory_analysis()
        allocated.append(memory.temp_size_in_bytes)
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert allocated[1] < 0.6 * allocated[0]


def test_the_average_follows_the_parameters(tiny, batch):
    """Against the recursion in numpy, with the decay that begins at that of a plain average."""
    _, state, step = start(tiny, ema_decay=0.3)
    expected = [np.asarray(x) for x in jax.tree.leaves(state.params)]
    for number in range(5):
        state, _ = step(state, batch)
        decay = min(0.3, (1 + number) / (10 + number))
        new = jax.tree.leaves(state.params)
        expected = [
            decay * e + (1 - decay) * np.asarray(x) for e, x in zip(expected, new, strict=True)
        ]
    for found, wanted in zip(jax.tree.leaves(state.scored), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    without = start(tiny)[1]
    assert without.average == ()
    assert without.scored is without.params


def test_bfloat16_computes_what_float32_does_and_keeps_float32(tiny, batch):
    """Flax's norms mix dtypes on purpose, which strict promotion refuses."""
    values = {}
    for precision in ("float32", "bfloat16"):
        tiny.precision = precision
        with jax.numpy_dtype_promotion("standard"):
            task, state, step = start(tiny)
            new, values[precision] = step(state, batch)
            estimates = jax.eval_shape(task.separator, state.params, batch.mixture)
        assert {x.dtype for x in jax.tree.leaves(new)} == {np.dtype("float32"), np.dtype("int32")}
        assert estimates.magnitudes.dtype == estimates.slots.dtype == np.float32
        assert estimates.named["grid"].dtype == jnp.dtype(precision)
    # bfloat16 has 8 bits of mantissa: each product is good to 0.4 %.
    for name, value in values["float32"].items():
        assert float(values["bfloat16"][name]) == pytest.approx(float(value), rel=0.02)
        assert float(values["bfloat16"][name]) != float(value)
