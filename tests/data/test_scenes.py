"""Scenes: who is there, when, and what else is heard."""

import numpy as np
import pytest

from audioslots_jax import UserError, fields
from audioslots_jax.data import Voices
from audioslots_jax.data.batch import RowByRow
from audioslots_jax.data.level import rms
from audioslots_jax.data.scenes import (
    LEVEL_DB,
    SHORTEST,
    SceneFields,
    Scenes,
    activity,
    chords,
)
from audioslots_jax.data.voices import VoicesData

RATE, SAMPLES = 8000, 1600
VOICES = Voices(RATE, SAMPLES, sources=3)


def batch(rows=range(60), step=0, **changes):
    return Scenes(VOICES, SceneFields(**changes), RATE).batch(1, step, rows, 60)


@pytest.fixture(scope="module")
def plain():
    return VOICES.batch(1, 0, range(60), 60)


def test_nothing_is_changed_that_is_not_asked_for(plain):
    assert SceneFields().scenes(VOICES, RATE) is VOICES
    for ours, theirs in zip(batch(), plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_row_depends_on_its_address_alone():
    changes = {"absent": 0.3, "pauses": 0.5, "noise": "white,babble"}
    whole = batch(**changes)
    for ours, theirs in zip(batch(range(7, 9), **changes), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs[7:9])
    assert (batch(step=1, **changes).present != whole.present).any()


def test_sources_are_absent_as_often_as_asked_and_the_others_are_the_same(plain):
    scenes = batch(absent=0.4)
    assert 0.5 < scenes.present.mean() < 0.7
    assert set(scenes.present.sum(axis=1)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(
        scenes.sources, np.where(scenes.present[..., None], plain.sources, 0)
    )
    np.testing.assert_array_equal(scenes.mixture, scenes.sources.sum(axis=1))


def test_voices_begin_late_end_early_or_pause(plain):
    scenes = batch(pauses=0.5)
    assert scenes.present.all()
    heard = np.abs(plain.sources) > 1e-6
    kept = np.array([
        (np.abs(scenes.sources[i, j]) > 0)[heard[i, j]].mean() for i in range(60) for j in range(3)
    ])  # fmt: skip
    assert 0.35 < np.mean(kept > 0.99) < 0.75
    assert kept.min() > SHORTEST - 0.05
    silent = np.abs(scenes.sources).reshape(180, 8, -1).max(axis=2) == 0  # by eighths of a crop
    assert silent[:, 0].any()
    assert silent[:, -1].any()
    assert (silent[:, 3:5].any(axis=1) & ~silent[:, 0] & ~silent[:, -1]).any()
    for first, second in np.random.default_rng(0).uniform(size=(50, 2)):
        level = activity(SAMPLES, first, second, RATE)
        inside = np.flatnonzero(level)
        assert (np.diff(inside) == 1).all()
        assert SHORTEST - 0.02 < len(inside) / SAMPLES <= 1
    begins, ends = np.array([
        (activity(SAMPLES, 0.5, x, RATE)[0] > 0.9, activity(SAMPLES, 0.5, x, RATE)[-1] > 0.9)
        for x in np.linspace(0, 1, 21)
    ]).T  # fmt: skip
    assert begins.any()
    assert ends.any()
    assert not (begins | ends).all()


def test_no_voice_is_lost_by_its_pause():
    """Where its sound is short, in a crop that is filled up with zeros."""

    class Clicks(RowByRow):
        def example(self, seed, step, row):
            return np.pad(np.ones((3, 200), np.float32), ((0, 0), (0, SAMPLES - 200)))

    scenes = Scenes(Clicks(), SceneFields(pauses=0.9), RATE).batch(0, 0, range(40), 40)
    assert np.square(scenes.sources).sum(axis=2).min() > 1
    assert (scenes.sources[:, :, 0] == 0).any()


@pytest.mark.parametrize("kind", ["white", "pink", "hum", "chords", "babble"])
def test_noise_has_the_level_that_is_asked_for_and_is_no_source(plain, kind):
    scenes = batch(noise=kind, noise_low_db=3.0, noise_high_db=9.0)
    np.testing.assert_array_equal(scenes.sources, plain.sources)
    noise = scenes.mixture - plain.mixture
    ratios = [20 * np.log10(rms(a) / rms(b)) for a, b in zip(plain.mixture, noise, strict=True)]
    assert 2.99 < min(ratios) < 4
    assert 8 < max(ratios) < 9.01
    power = np.square(np.abs(np.fft.rfft(noise))).mean(axis=0)
    low, high = power[1:200].mean(), power[-200:].mean()
    assert {"white": 0.8 < low / high < 1.25, "pink": low / high > 5,
            "hum": low / high > 1e3, "chords": low / high > 5,
            "babble": low / high > 5}[kind]  # fmt: skip


def test_noise_is_there_without_a_voice():
    low, high = 10.0, 40.0
    scenes = batch(absent=0.9, noise="white", noise_low_db=low, noise_high_db=high)
    empty = ~scenes.present.any(axis=1)
    assert empty.sum() > 20
    levels = 20 * np.log10([rms(mixture) for mixture in scenes.mixture[empty]])
    assert levels.max() == pytest.approx(LEVEL_DB, abs=2), "as loud as voices"
    assert levels.min() == pytest.approx(LEVEL_DB + low - high, abs=2)


def test_chords_are_few_tones_at_a_time():
    """Nearly all of the power of 100 ms lies in under a third of its bins, unlike that of noise."""
    for seed in range(20):
        made = chords(4 * RATE, RATE, np.random.default_rng(seed))
        assert np.isfinite(made).all()
        frames = made[: len(made) // 800 * 800].reshape(-1, 800) * np.hanning(800)
        power = np.sort(np.square(np.abs(np.fft.rfft(frames))), axis=1)[:, ::-1]
        most = power[:, :120].sum(axis=1) / power.sum(axis=1)
        assert np.median(most) > 0.99


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"absent": 1.0}, r"config\.data\.absent is 1\.0; it must be from 0 to below 1"),
        ({"noise": "wind"}, r"config\.data\.noise is 'wind'; it must name some of white, pink"),
        ({"noise_low_db": 30.0}, r"config\.data\.noise_low_db is 30\.0; it must not be above"),
    ],
)
def test_fields_that_cannot_be_are_told(section, sentence):
    with pytest.raises(UserError, match=sentence):
        fields.make_section(VoicesData, section, "data")


def test_a_whole_mixture_has_the_sources_that_are_there():
    data = VoicesData(sample_rate=RATE, sources=3, absent=0.5)
    counts = [len(whole.sources) for whole in data.open_test({}, 12)]
    assert set(counts) > {1, 2}
    for whole in data.open_test({}, 3):
        np.testing.assert_allclose(whole.mixture, whole.sources.sum(axis=0), atol=1e-6)
