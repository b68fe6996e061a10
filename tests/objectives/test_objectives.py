"""Every objective against its definition, and the properties that all of them share."""

import functools
import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import STFT, Batch, Estimates, FrontEnd, UserError, matching, objectives
from audioslots_jax.audio import MASKS, apply_masks, expand

FRONT_END = FrontEnd(STFT(32, 16), 0.3)
NAMES = [name for name in objectives.OBJECTIVES if name.startswith("matched")]
ASSIGN = functools.partial(matching.assign, solver="exhaustive")


def make_batch(sources=2, seed=0):
    waveforms = jax.random.normal(jax.random.key(seed), (3, sources, 64))
    return Batch(waveforms.sum(axis=1), waveforms, jnp.ones((3, sources), bool))


def make_estimates(waveforms):
    magnitudes = FRONT_END.magnitudes(waveforms)
    slots = jnp.zeros((*waveforms.shape[:2], 1))
    return Estimates(waveforms, magnitudes, magnitudes, slots, {})


@functools.cache
def objective(name):
    return jax.jit(objectives.build({name: {}}, FRONT_END, ASSIGN))


def guesses(slots=2, seed=1):
    return jax.random.normal(jax.random.key(seed), (3, slots, 64))


def cost(name, y, e, mixture):
    """Of one pair, in numpy."""
    if name == "matched_magnitude":
        return np.mean(np.square(FRONT_END.magnitudes(y[None]) - FRONT_END.magnitudes(e[None])))
    return 10 * np.log10(np.sum((y - e) ** 2) / np.sum(y**2) + 1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("sources", "slots"), [(2, 2), (2, 3), (3, 2)])
def test_loss_is_the_best_over_all_assignments(name, sources, slots):
    """A source that gets no slot costs nothing; a slot without a source neither."""
    batch, waveforms = make_batch(sources), guesses(slots)
    few = min(sources, slots)
    expected = [
        min(
            sum(cost(name, y[i], e[j], m) for i, j in zip(chosen, order, strict=True))
            for chosen in itertools.combinations(range(sources), few)
            for order in itertools.permutations(range(slots), few)
        )
        / sources
        for y, e, m in zip(batch.sources, waveforms, batch.mixture, strict=True)
    ]
    found = objective(name)(make_estimates(waveforms), batch)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradient_are_equivariant_in_the_slots(name):
    batch, waveforms = make_batch(3), guesses(3)

    @jax.jit
    @jax.value_and_grad
    def loss(waveforms):
        return objective(name)(make_estimates(waveforms), batch).sum()

    value, gradient = loss(waveforms)
    for order in map(np.array, itertools.permutations(range(3))):
        other, other_gradient = loss(waveforms[:, order])
        assert float(other) == pytest.approx(float(value), rel=1e-5)
        np.testing.assert_allclose(other_gradient, gradient[:, order], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_sources_that_do_not_exist_cost_nothing(name):
    """The loss is that of a batch without them, whatever their waveforms hold."""
    batch, waveforms = make_batch(2), guesses(2)
    absent = jnp.array([[True, False]] * 3)
    one = Batch(batch.mixture, batch.sources[:, :1], absent[:, :1])
    expected = objective(name)(make_estimates(waveforms), one)
    for junk in (batch.sources, batch.sources.at[:, 1].set(7.0)):
        found = objective(name)(make_estimates(waveforms), Batch(batch.mixture, junk, absent))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    nobody = batch._replace(present=jnp.zeros((3, 2), bool))
    np.testing.assert_array_equal(objective(name)(make_estimates(waveforms), nobody), np.zeros(3))


@pytest.mark.parametrize("name", NAMES)
def test_sources_that_exist_come_first_where_slots_are_few(name):
    """Two of three sources exist, and two slots hold them; the third must not take one."""
    batch = make_batch(3)
    present = jnp.array([[True, False, True]] * 3)
    few = Batch(batch.mixture, batch.sources, present)
    exact = make_estimates(batch.sources[:, jnp.array([2, 0])])
    best = -30.0 if name == "matched_snr" else 0.0
    np.testing.assert_allclose(objective(name)(exact, few), np.full(3, best), atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-12, 1e-7, 1e-6, 1.0])
def test_gradients_through_masks_are_finite_however_soft_the_magnitudes(name, scale):
    """What the paper's decoder gives for a cell may be next to nothing, or below it."""
    batch = make_batch(2)

    @jax.jit
    @jax.grad
    def gradient(magnitudes):
        masks = MASKS["wiener"](expand(magnitudes))
        masked = apply_masks(masks, FRONT_END.spectrogram(batch.mixture))
        estimates = make_estimates(FRONT_END.waveform(masked, 64))._replace(magnitudes=magnitudes)
        return objective(name)(estimates, batch).sum()

    magnitudes = scale * jax.random.normal(jax.random.key(5), (3, 2, 16, 4))
    assert np.all(np.isfinite(gradient(magnitudes)))
    assert np.all(np.isfinite(gradient(magnitudes.at[0].set(0))))


@functools.cache
def snr_and_gradient():
    def loss(waveforms, batch):
        return objective("matched_snr")(make_estimates(waveforms), batch).sum()

    return jax.jit(jax.value_and_grad(loss))


@hypothesis.settings(deadline=None, max_examples=40, derandomize=True, database=None)
@hypothesis.given(
    levels=st.lists(st.sampled_from([0.0, 1e-8, 1e-3, 1.0, 1e3]), min_size=2, max_size=2),
    errors=st.lists(st.sampled_from([0.0, 1e-9, 1e-3, 1.0, 1e3]), min_size=2, max_size=2),
)
def test_snr_is_finite_and_limited_for_silence_and_exact_estimates(levels, errors):
    sources = guesses(2, seed=2) * jnp.asarray(levels)[None, :, None]
    batch = Batch(sources.sum(axis=1), sources, jnp.ones((3, 2), bool))
    waveforms = sources + guesses(2, seed=3) * jnp.asarray(errors)[None, :, None]
    loss, gradient = snr_and_gradient()(waveforms, batch)
    assert np.isfinite(loss)
    assert np.all(np.isfinite(gradient))
    assert float(loss) >= -3 * 30.001
    if not any(errors):
        assert float(loss) == pytest.approx(-3 * 30, abs=0.01)


def test_a_sum_weighs_its_parts():
    batch, estimates = make_batch(), make_estimates(guesses())
    config = {
        "matched_magnitude": {"weight": 2.0},
        "matched_snr": {"weight": 0.5, "limit_db": 30.0},
    }
    total = objectives.build(config, FRONT_END, ASSIGN)(estimates, batch)
    expected = 2 * objective("matched_magnitude")(estimates, batch)
    expected += 0.5 * objective("matched_snr")(estimates, batch)
    np.testing.assert_allclose(total, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "must name some of matched_magnitude, matched_snr"),
        ({"mse": {}}, r"config\.objectives\.mse is {}; it must be a section of matched_magnitude"),
        ({"matched_snr": {"limit": 3}}, r"config\.objectives\.matched_snr\.limit is no field"),
        (
            {"matched_snr": {"weight": "much"}},
            r"matched_snr\.weight is 'much'; it must be a finite",
        ),
        ({"matched_snr": {"limit_db": 99.0}}, r"limit_db is 99\.0; it must be above 0"),
    ],
)
def test_wrong_objectives_are_one_sentence(config, sentence):
    with pytest.raises(UserError, match=sentence):
        objectives.build(config, FRONT_END, ASSIGN)


@pytest.mark.parametrize("name", NAMES)
def test_a_nan_reaches_the_loss_of_its_mixture_alone(name):
    waveforms = guesses().at[0, 0, 0].set(jnp.nan)
    found = objective(name)(make_estimates(waveforms), make_batch())
    np.testing.assert_array_equal(np.isnan(found), [True, False, False])
