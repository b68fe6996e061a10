"""Mixtures whose number of sources varies: silence in slots that are left, and who says so."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import STFT, Batch, Estimates, FrontEnd, UserError, matching, objectives
from audioslots_jax import separator as separators
from audioslots_jax.evaluation.evaluators import EVALUATORS, UNDEFINED, evaluate
from audioslots_jax.objectives.matched import taken
from audioslots_jax.training.settings import complete
from audioslots_jax.training.step import make_task
from configs import voices
from tests.runs import new_state

FRONT_END = FrontEnd(STFT(32, 16), 0.3)
PRESENT = np.array([[True, True], [False, True], [False, False]])
# Which slots the guesses below put the sources into.
SLOTS = np.array([[2, 0], [-1, 1], [-1, -1]])


def noise(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def scene():
    """Three mixtures of two, one and no source; three slots, nearly right."""
    sources = jnp.where(PRESENT[..., None], noise(3, 2, 64), 0.0)
    guesses = 0.1 * np.array(noise(3, 3, 64, seed=1))
    for row, source in zip(*np.nonzero(PRESENT), strict=True):
        guesses[row, SLOTS[row, source]] += sources[row, source]
    mixture = sources.sum(axis=1) + 0.01 * noise(3, 64, seed=2)
    return Batch(mixture, sources, jnp.asarray(PRESENT)), jnp.asarray(guesses)


def loss(batch, waveforms, named=(), **sections):
    magnitudes = FRONT_END.magnitudes(waveforms)
    slots = jnp.zeros((*waveforms.shape[:2], 1))
    estimates = Estimates(waveforms, magnitudes, magnitudes, slots, dict(named))
    return objectives.build(sections, FRONT_END, matching.assign)(estimates, batch)


def test_slots_that_are_left_are_to_be_silent():
    """The mean of their levels over the mixture's, on top of the loss without it."""
    batch, guesses = scene()
    plain = loss(batch, guesses, matched_snr={})
    found = loss(batch, guesses, matched_snr={"silence": 0.5})
    for row, used in enumerate(([2, 0], [1], [])):
        free = [slot for slot in range(3) if slot not in used]
        energy = np.sum(np.square(guesses[row][np.array(free)]), axis=1)
        whole = np.sum(np.square(batch.mixture[row])) + 1e-10 * 64
        expected = np.mean(10 * np.log10(energy / whole + 1e-3))
        np.testing.assert_allclose(found[row] - plain[row], 0.5 * expected, rtol=1e-3)


def test_slots_that_hold_a_source_are_to_say_so():
    """Cross entropy, written out in numpy."""
    batch, guesses = scene()
    logits = 3 * np.asarray(noise(3, 3, seed=5))
    held = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]])
    probability = 1 / (1 + np.exp(-logits))
    expected = -np.log(np.where(held, probability, 1 - probability)).mean(axis=1)
    found = loss(batch, guesses, {"presence": jnp.asarray(logits)}, presence={})
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("solver", ["scipy", "optax", "exhaustive"])
def test_taken_slots_are_those_of_present_sources(solver):
    costs = jnp.array([[[3.0, 1.0, 2.0], [0.0, 1.0, 5.0]]] * 3)
    assign = lambda x: matching.assign(x, solver)  # noqa: E731
    found = taken(costs, jnp.asarray(PRESENT), assign)
    expected = [[True, True, False], [True, False, False], [False] * 3]
    np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def task():
    config = voices.get_config("mask,count")
    config.model.encoder.update(width=8, blocks=2, embedding=4, embedding_block=1)
    config.model.slot_module.slot_size = 12
    config.data.crop_seconds = 0.12
    config = complete(config)
    return make_task(config), new_state(config).params


def test_a_model_says_what_is_in_its_slots(task):
    """Nothing at first; and its parameters are as they were but for those that say it."""
    task, params = task
    estimates = jax.jit(task.separator)(params, noise(2, 960))
    np.testing.assert_array_equal(estimates.named["presence"], np.zeros((2, 3)))
    assert set(params["params"]) == {"encoder", "slot_module", "decoder", "presence"}
    config = voices.get_config("mask")
    shapes = jax.eval_shape(lambda: separators.build(config, 960).init(jax.random.key(0), 960))
    assert "presence" not in shapes["params"]


def test_a_muted_slot_is_heard_as_far_as_it_is_said_to_hold_a_source(task):
    task, params = task
    params = jax.tree.map(lambda x: x, params)
    said = params["params"]["presence"]["logit"]
    said["kernel"] = jax.random.normal(jax.random.key(3), said["kernel"].shape)
    muted = task.separator.model.clone(mute=True)
    muted = dataclasses.replace(task.separator, model=muted)
    open_, quiet = (jax.jit(made)(params, noise(2, 960)) for made in (task.separator, muted))
    np.testing.assert_array_equal(open_.named["presence"], quiet.named["presence"])
    heard = 1 / (1 + np.exp(-open_.named["presence"]))
    assert np.ptp(heard) > 0.1
    np.testing.assert_allclose(
        quiet.waveforms, heard[..., None] * open_.waveforms, rtol=1e-3, atol=1e-6
    )


def test_any_number_of_sources_has_a_finite_gradient(task):
    task, params = task
    sources = 0.1 * noise(4, 3, 960)
    present = jnp.array([[False] * 3, [True, False, False], [True, False, True], [True] * 3])
    sources = jnp.where(present[..., None], sources, 0.0)
    batch = Batch(sources.sum(axis=1), sources, present)
    value, gradient = jax.jit(jax.value_and_grad(task.loss))(params, batch, jax.random.key(0))
    assert np.isfinite(value)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_counting_and_scores_that_are_not_defined(task):
    """A mixture of none has no SI-SNR, one of one no improvement; all of them are counted."""
    task, params = task
    shift = jnp.array([4.0])  # every slot says that it holds a source
    params = jax.tree.map(lambda x: x, params)
    params["params"]["presence"]["logit"]["bias"] = shift
    sources = 0.1 * noise(4, 3, 960)
    present = jnp.array([[False] * 3, [True, False, False], [True, False, True], [True] * 3])
    sources = jnp.where(present[..., None], sources, 0.0)
    batch = Batch(sources.sum(axis=1), sources, present)

    def scores(name, params=params):
        evaluator = EVALUATORS[name](task.separator, task.objectives)
        return evaluator.scores, jax.jit(evaluator)(params, batch).values

    _, (right, level) = scores("counting")
    np.testing.assert_array_equal(right, [0, 0, 0, 1])
    assert level[3] == UNDEFINED  # no slot is left
    assert np.isfinite(level[1:3]).all()
    names, values = scores("separation")
    np.testing.assert_array_equal(np.asarray(values[0]) == UNDEFINED, [True, True, False, False])
    np.testing.assert_array_equal(np.asarray(values[1]) == UNDEFINED, [True, False, False, False])
    evaluator = EVALUATORS["separation"](task.separator, task.objectives)
    means, _ = evaluate({names: lambda b: jax.jit(evaluator)(params, b)}, [batch], 4, 0)
    np.testing.assert_allclose(means["si_snr"], np.mean(values[1][1:]), rtol=1e-5)
    none = jax.tree.map(lambda x: x[:1], batch)
    assert list(evaluate({names: lambda b: jax.jit(evaluator)(params, b)}, [none], 1, 0)[0]) == [
        "loss"
    ]
    spoilt = jax.tree.map(lambda x: x * jnp.nan, params)
    means, _ = evaluate({names: lambda b: jax.jit(evaluator)(spoilt, b)}, [batch], 4, 0)
    assert np.isnan(means["si_snr"])


def test_what_needs_a_model_that_says_it_is_refused_without():
    batch, guesses = scene()
    with pytest.raises(UserError, match=r"config\.objectives\.presence needs --config\.model"):
        loss(batch, guesses, presence={})
