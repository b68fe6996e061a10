"""Slots that are alike wherever a voice is heard."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import STFT, Batch, Estimates, FrontEnd, UserError, matching, objectives
from audioslots_jax.objectives import with_other_partners
from audioslots_jax.training.settings import check, complete
from audioslots_jax.training.step import make_task
from configs import compact
from tests.runs import new_state

FRONT_END = FrontEnd(STFT(32, 16), 0.3)
MIXTURES, SOURCES, SIZE = 4, 3, 6


def noise(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def scene(present=True):
    present = jnp.broadcast_to(present, (MIXTURES, SOURCES))
    sources = jnp.where(present[..., None], noise(MIXTURES, SOURCES, 65), 0.0)
    mixture = sources.sum(axis=1) + 0.1 * noise(MIXTURES, 65, seed=1)
    return Batch(mixture, sources, present)


def loss(batch, slots, order):
    """Of slots that hold the sources in some order."""
    waveforms = jnp.take_along_axis(batch.sources, jnp.argsort(order, axis=1)[..., None], axis=1)
    magnitudes = FRONT_END.magnitudes(waveforms)
    slots = jnp.take_along_axis(slots, jnp.argsort(order, axis=1)[..., None], axis=1)
    estimates = Estimates(waveforms, magnitudes, magnitudes, slots, {})
    return objectives.build({"speaker_contrast": {}}, FRONT_END, matching.assign)(estimates, batch)


def orders():
    random = np.random.default_rng(0)
    return jnp.asarray([random.permutation(SOURCES) for _ in range(2 * MIXTURES)])


def of_voices(voices):
    """Arrays of voices, where `with_other_partners` has them."""
    moved = jnp.concatenate([voices[:, :1], jnp.roll(voices[:, 1:], 1, axis=0)], axis=1)
    return jnp.concatenate([voices, moved])


def test_every_voice_is_heard_twice_with_other_partners():
    batch = scene()
    other = with_other_partners(batch)
    assert other.sources.shape == (2 * MIXTURES, SOURCES, 32)
    for row in range(MIXTURES):
        before = row - 1  # of the first, the last
        np.testing.assert_array_equal(other.sources[row], batch.sources[row, :, :32])
        heard = other.sources[MIXTURES + row]
        np.testing.assert_array_equal(heard[0], batch.sources[row, 0, 32:64])
        np.testing.assert_array_equal(heard[1:], batch.sources[before, 1:, 32:64])
    np.testing.assert_allclose(
        other.mixture - other.sources.sum(axis=1),
        np.concatenate(np.split((batch.mixture - batch.sources.sum(axis=1))[:, :64], 2, axis=1)),
        atol=1e-5,
    )


def test_slots_that_know_the_voice_cost_nothing_and_others_a_guess():
    batch = with_other_partners(scene())
    voices = jnp.eye(MIXTURES * SOURCES).reshape(MIXTURES, SOURCES, -1)
    assert np.all(loss(batch, of_voices(voices), orders()) < 0.01)
    by_chance = loss(batch, jnp.ones((2 * MIXTURES, SOURCES, SIZE)), orders())
    np.testing.assert_allclose(by_chance, np.log(MIXTURES * SOURCES), rtol=1e-5)


def test_it_is_the_cross_entropy_of_cosines():
    """Written out in numpy, voice by voice."""
    batch, order = with_other_partners(scene()), jnp.tile(jnp.arange(SOURCES), (2 * MIXTURES, 1))
    slots = noise(2 * MIXTURES, SOURCES, SIZE, seed=2)
    found = loss(batch, slots, order)
    centred = np.asarray(slots) - np.asarray(slots).mean(axis=0)
    units = centred / np.linalg.norm(centred, axis=-1, keepdims=True)
    first, second = units[:MIXTURES], units[MIXTURES:]
    places = [(row, source) for row in range(MIXTURES) for source in range(SOURCES)]
    for row in range(MIXTURES):
        forth, back = [], []
        for source in range(SOURCES):
            own = (row + (source > 0)) % MIXTURES  # where the second half has the voice
            scores = np.array([first[row, source] @ second[place] for place in places]) / 0.1
            forth.append(np.log(np.exp(scores).sum()) - scores[places.index((own, source))])
            own = (row - (source > 0)) % MIXTURES
            scores = np.array([second[row, source] @ first[place] for place in places]) / 0.1
            back.append(np.log(np.exp(scores).sum()) - scores[places.index((own, source))])
        np.testing.assert_allclose(found[row], np.mean(forth), rtol=1e-4)
        np.testing.assert_allclose(found[MIXTURES + row], np.mean(back), rtol=1e-4)


def test_voices_that_are_not_there_change_nothing():
    """Neither as a place to be found at, nor by what their slots hold; gradients are finite."""
    present = np.array([[True, True, False]])
    batch, order = with_other_partners(scene(present)), jnp.tile(jnp.arange(3), (2 * MIXTURES, 1))
    slots = noise(2 * MIXTURES, SOURCES, SIZE, seed=2)
    found = loss(batch, slots, order)
    np.testing.assert_allclose(found, loss(batch, slots.at[:, 2].set(7.0), order), rtol=1e-5)
    both = Batch(batch.mixture, batch.sources[:, :2], batch.present[:, :2])
    np.testing.assert_allclose(found, loss(both, slots[:, :2], order[:, :2]), rtol=1e-5)
    for nobody in (present, np.zeros((1, 3), bool)):
        batch = with_other_partners(scene(nobody))
        gradient = jax.grad(lambda x, b=batch: loss(b, x, order).sum())(slots)
        assert np.isfinite(gradient).all()
    assert not np.any(loss(batch, slots, order))


@pytest.fixture(scope="module")
def config():
    config = compact.get_config("speaker_contrast")
    config.data = {"kind": "voices", "crop_seconds": 0.24, "sample_rate": 8000}
    config.model.encoder.update(width=8, blocks=2, cycle=2, embedding=0)
    config.model.slot_module.slot_size = 8
    del config.objectives.affinity
    return complete(config)


def test_a_training_is_on_mixtures_of_half_a_crop(config):
    """And is for all objectives; what it validates on are whole crops."""
    check(config)
    task = make_task(config)
    params = new_state(config).params
    batch = Batch.of(0.1 * np.asarray(noise(MIXTURES, 2, 1920), np.float32))
    batch = Batch(*map(jnp.asarray, batch))
    halves = with_other_partners(batch)
    estimates = task.separator(params, halves.mixture)
    expected = task.objectives(estimates, halves).mean()
    key = jax.random.key(0)
    np.testing.assert_allclose(jax.jit(task.loss)(params, batch, key), expected, rtol=1e-4)
    plain = task.objectives.that_need("sources")
    assert np.abs(plain(estimates, halves).mean() - expected) > 0.1
    gradients = jax.jit(jax.grad(dataclasses.replace(task, objectives=plain).loss))(
        params, batch, key
    )
    assert np.isfinite(jax.tree.reduce(lambda a, b: a + jnp.sum(b), gradients, 0.0))


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [("train", "sequence", 2), ("model", "slots", 1), ("train", "with_sources", 0.5)],
)
def test_what_it_does_not_go_with_is_refused(config, section, field, value):
    config = config.copy_and_resolve_references()
    config[section][field] = value
    config.eval.update(evaluators=("oracle_masks",), chunk_seconds=0.0)
    if field == "with_sources":
        config.objectives.mixit = {"weight": 1.0, "limit_db": 30.0, "mixing": "all"}
    with pytest.raises(UserError, match="must not compare voices"):
        check(config)
