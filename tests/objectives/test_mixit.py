"""Mixture invariant training: every mixing matrix, no source, and no order of slots."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import STFT, Batch, Estimates, FrontEnd, UserError, matching, objectives
from audioslots_jax.evaluation.evaluators import EVALUATORS
from audioslots_jax.objectives.mixit import best_mixing, nearest_mixing
from audioslots_jax.training.settings import check, complete
from audioslots_jax.training.step import make_task
from configs import voices
from tests.runs import new_state

FRONT_END = FrontEnd(STFT(32, 16), 0.3)


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def loss(references, slots, **fields):
    """Of mixtures of mixtures."""
    objective = objectives.build({"mixit": fields}, FRONT_END, matching.assign)

    @jax.jit
    def compute(references, slots):
        magnitudes = FRONT_END.magnitudes(slots)
        estimates = Estimates(slots, magnitudes, magnitudes, jnp.zeros((*slots.shape[:2], 1)), {})
        batch = Batch(references.sum(axis=1), references, jnp.ones(references.shape[:2], bool))
        return objective(estimates, batch)

    return compute(references, slots)


@pytest.mark.parametrize(("references", "slots"), [(2, 2), (2, 4), (3, 4)])
def test_it_is_the_best_of_all_mixings(references, slots):
    """Each slot in one mixture, written out in numpy; the best has the least sum of losses."""
    mixtures, guesses = noise(3, references, 64), 0.7 * noise(3, slots, 64, seed=1)
    expected = []
    for own, made in zip(np.asarray(mixtures), np.asarray(guesses), strict=True):
        tried = []
        for owners in itertools.product(range(references), repeat=slots):
            remixed = [made[np.array(owners) == r].sum(axis=0) for r in range(references)]
            ratios = [
                np.sum((y - e) ** 2) / np.sum(y**2) for y, e in zip(own, remixed, strict=True)
            ]
            tried.append(np.mean([10 * np.log10(ratio + 1e-3) for ratio in ratios]))
        expected.append(min(tried))
    np.testing.assert_allclose(loss(mixtures, guesses), expected, atol=1e-3)


@pytest.mark.parametrize("mixing", ["all", "least_squares"])
def test_separated_sources_reach_the_limit_in_any_order(mixing):
    sources = noise(3, 4, 64)
    mixtures = jnp.stack([sources[:, :2].sum(axis=1), sources[:, 2:].sum(axis=1)], axis=1)
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        reached = loss(mixtures, sources[:, jnp.array(order)], mixing=mixing)
        np.testing.assert_allclose(reached, -30, atol=0.01)
    shifted = jnp.roll(sources, 1, axis=2)
    assert loss(mixtures, shifted, mixing=mixing).min() > -3


def test_least_squares_and_all_mixings_agree_where_it_is_clear():
    sources = noise(3, 4, 64)
    mixtures = jnp.stack([sources[:, 0] + sources[:, 3], sources[:, 1] + sources[:, 2]], axis=1)
    slots = sources + 0.1 * noise(3, 4, 64, seed=1)
    found = best_mixing(mixtures, slots)
    np.testing.assert_array_equal(found, nearest_mixing(mixtures, slots))
    np.testing.assert_array_equal(found[0], [[1, 0, 0, 1], [0, 1, 1, 0]])


@pytest.mark.parametrize("mixing", ["all", "least_squares"])
def test_silence_has_a_finite_gradient(mixing):
    gradient = jax.jit(jax.grad(lambda slots, x: loss(x, slots, mixing=mixing).sum()))
    for mixtures in (jnp.zeros((1, 2, 64)), noise(1, 2, 64)):
        for slots in (jnp.zeros((1, 4, 64)), jnp.ones((1, 4, 64))):
            assert np.isfinite(gradient(slots, mixtures)).all()


def test_too_many_slots_for_all_mixings_are_told_before(config):
    config.model.slots = 13
    with pytest.raises(UserError, match=r"model\.slots is 13; it is too many"):
        check(complete(config))
    config.objectives.mixit["mixing"] = "least_squares"
    check(complete(config))


def test_the_loss_of_held_out_mixtures_is_that_of_the_training(config):
    """Of sums of neighbours, each of which stands for both."""
    task, params = make_task(complete(config)), new_state(complete(config)).params
    batch = make_batch(known=8)
    evaluator = EVALUATORS["separation"](task.separator, task.objectives)
    losses = jax.jit(evaluator)(params, batch).values[2]
    expected = jax.jit(task.loss)(params, batch, jax.random.key(0))
    np.testing.assert_allclose(losses.mean(), expected, rtol=1e-4)
    np.testing.assert_array_equal(losses[0], losses[1])


def test_too_many_mixings_are_told():
    with pytest.raises(ValueError, match="least_squares"):
        loss(noise(1, 2, 64), noise(1, 13, 64))


def test_pairs_are_sums_of_neighbours():
    mixtures = noise(5, 64)
    pairs = Batch(mixtures, jnp.full((5, 3, 64), jnp.nan), jnp.zeros((5, 3), bool)).in_pairs()
    np.testing.assert_allclose(pairs.mixture, mixtures[0:4:2] + mixtures[1:4:2], atol=1e-6)
    np.testing.assert_array_equal(pairs.sources[1], mixtures[2:4])
    assert pairs.present.all()
    assert pairs.present.shape == (2, 2)


@pytest.fixture
def config(tiny):
    tiny.model.slots = 4
    tiny.train.batch_size = 8
    tiny.train.with_sources = 0.0
    tiny.objectives = {"mixit": {"weight": 1.0}}
    return tiny


def learn(config, batch):
    """The loss of a step, and its gradient."""
    config = complete(config)
    check(config)
    params = new_state(config).params
    return jax.jit(jax.value_and_grad(make_task(config).loss))(params, batch, jax.random.key(0))


def make_batch(known):
    """Eight mixtures; sources that are not ``known`` are not even numbers."""
    sources = noise(8, 2, 960)
    hidden = jnp.where(jnp.arange(8)[:, None, None] < known, sources, jnp.nan)
    return Batch(sources.sum(axis=1), hidden, jnp.ones((8, 2), bool))


def test_no_source_is_ever_read(config):
    value, gradient = learn(config, make_batch(known=0))
    assert np.isfinite(value)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


@pytest.mark.parametrize("decoder", ["magnitudes", "masks"])
def test_the_mixture_alone_is_reconstructed_without_sources(config, decoder):
    """The sum of what the slots paint, against the mixture, written out in numpy."""
    if decoder == "masks":
        config.model = voices.get_config("mask").model
        config.model.encoder.update(width=8, blocks=2, embedding=0)
    config.objectives = {"mixture_magnitude": {}}
    batch = make_batch(known=0)
    value, gradient = learn(config, batch)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    task = make_task(complete(config))
    painted = jax.jit(task.separator)(new_state(complete(config)).params, batch.mixture).magnitudes
    heard = np.asarray(task.separator.front_end.magnitudes(batch.mixture))
    expected = np.mean((np.asarray(painted).sum(axis=1) - heard) ** 2)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_the_known_part_of_a_batch_is_learned_from_its_sources(config):
    config.train.with_sources = 0.25
    config.objectives.matched_snr = {"weight": 1.0}
    value, gradient = learn(config, make_batch(known=2))
    assert np.isfinite(value)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    value, _ = learn(config, make_batch(known=1))
    assert np.isnan(value)


@pytest.mark.parametrize(
    ("share", "names", "sentence"),
    [
        (1.0, ["mixit"], "train.with_sources is 1.0; it must be below 1"),
        (0.0, ["matched_snr"], "objectives is .*; it must hold one that learns without"),
        (0.5, ["mixit"], "objectives is .*; it must hold one that learns from"),
        (0.1, ["mixit", "matched_snr"], "must leave a multiple of 2 of 8"),
        (0.05, ["mixit", "matched_snr"], "and others with"),
        (0.0, ["mixit", "matched_snr"], "above 0, and else none"),
    ],
)
def test_shares_and_objectives_that_do_not_fit_are_told(config, share, names, sentence):
    config.train.with_sources = share
    config.objectives = {name: {} for name in names}
    with pytest.raises(UserError, match=sentence):
        check(complete(config))
