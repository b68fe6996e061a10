"""Slots that are alike wherever a voice is heard."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from audioslots_jax import STFT, Batch, Estimates, FrontEnd, UserError, matching, objectives
from audioslots_jax.objectives import with_other_partners
from audioslots_jax.training.loop import open_data
from audioslots_jax.training.settings import check, complete
from audioslots_jax.training.step import make_task, training_samples
from configs import compact
from tests.runs import new_state

FRONT_END = FrontEnd(STFT(32, 16), 0.3)
MIXTURES, SOURCES, SIZE = 4, 3, 6

divided = jax.jit(with_other_partners)


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def scene(present=True):
    present = jnp.broadcast_to(present, (MIXTURES, SOURCES))
    sources = jnp.where(present[..., None], noise(MIXTURES, SOURCES, 65), 0.0)
    mixture = sources.sum(axis=1) + 0.1 * noise(MIXTURES, 65, seed=1)
    return Batch(mixture, sources, present)


@jax.jit
def loss(batch, slots, order):
    """Of slots that hold the sources in some order."""
    waveforms = jnp.take_along_axis(batch.sources, jnp.argsort(order, axis=1)[..., None], axis=1)
    magnitudes = FRONT_END.magnitudes(waveforms)
    slots = jnp.take_along_axis(slots, jnp.argsort(order, axis=1)[..., None], axis=1)
    estimates = Estimates(waveforms, magnitudes, magnitudes, slots, {})
    return objectives.build({"speaker_contrast": {}}, FRONT_END, matching.assign)(estimates, batch)


slope = jax.jit(jax.grad(lambda slots, batch, order: loss(batch, slots, order).sum()))


def orders():
    random = np.random.default_rng(0)
    return jnp.asarray([random.permutation(SOURCES) for _ in range(2 * MIXTURES)])


def moved(voices, rows):
    """Source i of every row goes i times so many rows on."""
    each = [np.roll(voices[:, i], i * rows, axis=0) for i in range(voices.shape[1])]
    return jnp.asarray(np.stack(each, axis=1))


def test_every_voice_is_heard_twice_with_other_partners():
    batch = scene()
    other = divided(batch)
    assert other.sources.shape == (2 * MIXTURES, SOURCES, 32)
    np.testing.assert_array_equal(other.sources[:MIXTURES], batch.sources[..., :32])
    heard = moved(np.asarray(batch.sources[..., 32:64]), 1)
    np.testing.assert_array_equal(other.sources[MIXTURES:], heard)
    rows = np.tile(np.arange(MIXTURES)[:, None], (1, SOURCES))
    for partners in moved(rows, 1):
        assert len(set(partners.tolist())) == SOURCES, "no two were partners before"
    np.testing.assert_allclose(
        other.mixture - other.sources.sum(axis=1),
        np.concatenate(np.split((batch.mixture - batch.sources.sum(axis=1))[:, :64], 2, axis=1)),
        atol=1e-5,
    )
    assert other.present.all()


def test_who_pauses_for_a_half_is_not_there():
    batch = scene()
    sources = batch.sources.at[1, 2, :32].set(0.0)
    other = divided(Batch(batch.mixture, sources, batch.present))
    assert not other.present[1, 2]
    assert other.present.sum() == 2 * MIXTURES * SOURCES - 1


def test_slots_that_know_the_voice_cost_nothing_and_others_a_guess():
    batch = divided(scene())
    voices = 9 * np.eye(MIXTURES * SOURCES).reshape(MIXTURES, SOURCES, -1)
    known = jnp.concatenate([voices, moved(voices, 1)]).astype(jnp.float32)
    assert np.all(loss(batch, known, orders()) < 0.01)
    by_chance = loss(batch, jnp.ones((2 * MIXTURES, SOURCES, SIZE)), orders())
    np.testing.assert_allclose(by_chance, np.log(MIXTURES * SOURCES), rtol=1e-5)


def test_it_is_the_cross_entropy_of_cosines():
    """Written out in numpy, voice by voice."""
    batch, order = divided(scene()), jnp.tile(jnp.arange(SOURCES), (2 * MIXTURES, 1))
    slots = noise(2 * MIXTURES, SOURCES, SIZE, seed=2)
    found = loss(batch, slots, order)
    centred = np.asarray(slots) - np.asarray(slots).mean(axis=0)
    units = centred / np.linalg.norm(centred, axis=-1, keepdims=True)
    first, second = units[:MIXTURES], units[MIXTURES:]
    places = [(row, source) for row in range(MIXTURES) for source in range(SOURCES)]

    def entropy(voice, own, others):
        scores = np.array([voice @ others[place] for place in places]) / 0.1
        return np.log(np.exp(scores).sum()) - scores[places.index(own)]

    for row in range(MIXTURES):
        sources = range(SOURCES)
        later = [((row + source) % MIXTURES, source) for source in sources]
        earlier = [((row - source) % MIXTURES, source) for source in sources]
        expected = np.mean([entropy(first[row, s], later[s], second) for s in sources])
        np.testing.assert_allclose(found[row], expected, rtol=1e-2)
        expected = np.mean([entropy(second[row, s], earlier[s], first) for s in sources])
        np.testing.assert_allclose(found[MIXTURES + row], expected, rtol=1e-2)


def test_voices_that_are_not_there_change_nothing():
    """Neither as a place to be found at, nor by what is in their slots; gradients are finite."""
    present = np.ones((MIXTURES, SOURCES), bool)
    present[:, 2] = present[0, 0] = False
    batch, order = divided(scene(present)), orders()
    slots = noise(2 * MIXTURES, SOURCES, SIZE, seed=2)
    found = loss(batch, slots, order)
    absent = ~np.asarray(batch.present)
    np.testing.assert_allclose(
        found, loss(batch, jnp.where(absent[..., None], 7.0, slots), order), rtol=1e-5
    )
    for nobody in (present, np.zeros_like(present)):
        batch = divided(scene(nobody))
        gradient = slope(slots, batch, order)
        assert np.isfinite(gradient).all()
    assert not np.any(loss(batch, slots, order))


@pytest.fixture(scope="module")
def config():
    config = compact.get_config("speaker_contrast")
    config.data = {"kind": "voices", "crop_seconds": 0.12, "sample_rate": 8000}
    config.model.encoder.update(width=8, blocks=2, cycle=2, embedding=0)
    config.model.slot_module.slot_size = 8
    del config.objectives.affinity
    return complete(config)


def test_a_training_is_on_two_crops_in_a_row(config):
    """All objectives see their mixtures; what the model is for are crops, which it validates on."""
    check(config)
    task = make_task(config)
    assert training_samples(config) == 2 * 960
    assert open_data(config, Path("/nowhere"))[0].train.batch(0, 0, range(1), 1).mixture.shape == (
        1,
        2 * 960,
    )
    params = jax.tree.map(
        lambda x: x + 0.3 * noise(*x.shape, seed=x.size), new_state(config).params
    )
    batch = Batch.of(0.1 * np.asarray(noise(MIXTURES, 2, 1920), np.float32))
    batch = Batch(*map(jnp.asarray, batch))
    halves = divided(batch)
    contrast = task.objectives.that_need("partners")

    @jax.jit
    def expected(params):
        return task.objectives(task.separator(params, halves.mixture), halves).mean()

    @jax.jit
    def without(params):
        plain = task.objectives.that_need("sources")
        return plain(task.separator(params, halves.mixture), halves).mean()

    loss, gradient = jax.jit(jax.value_and_grad(task.loss))(params, batch, jax.random.key(0))
    np.testing.assert_allclose(loss, expected(params), rtol=1e-4)
    own = jax.tree.map(lambda x, y: x - y, gradient, jax.jit(jax.grad(without))(params))
    sizes = {part: optax.tree.norm(own["params"][part]) for part in own["params"]}
    assert contrast.parts
    assert sizes["slot_module"] > 1e-3
    assert sizes["encoder"] > 1e-3
    assert sizes["decoder"] < 1e-4 * sizes["slot_module"], "it reads the slots alone"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train.sequence": 2}, "must not compare voices"),
        ({"model.slots": 1}, "must not compare voices"),
        ({"train.with_sources": 0.5}, "must not compare voices"),
        ({"train.micro_batches": 8}, "must leave at least as many rows together"),
    ],
)
def test_what_it_does_not_go_with_is_refused(config, changes, sentence):
    config = config.copy_and_resolve_references()
    for name, value in changes.items():
        section, field = name.split(".")
        config[section][field] = value
    config.eval.update(evaluators=("oracle_masks",), chunk_seconds=0.0)
    if "train.with_sources" in changes:
        config.objectives.mixit = {"weight": 1.0, "limit_db": 30.0, "mixing": "all"}
    with pytest.raises(UserError, match=sentence):
        check(config)
