import numpy as np
import pytest

from audioslots_jax.data import Voices, voices
from audioslots_jax.data.batch import HELD_OUT_SEED
from audioslots_jax.data.draws import random_generator
from audioslots_jax.data.voices import VoicesData

SHAPE = {"sample_rate": 8000, "samples": 1000}


def test_an_example_depends_on_its_address_alone():
    mixtures = Voices(**SHAPE)
    whole = mixtures.batch(3, 10_000_000, range(6), 6).sources
    assert whole.shape == (6, 2, 1000)
    part = Voices(**SHAPE).batch(3, 10_000_000, range(2, 4), 6)
    np.testing.assert_array_equal(part.sources, whole[2:4])
    np.testing.assert_array_equal(part.mixture, whole[2:4].sum(axis=1))
    others = [mixtures.batch(*address, range(6), 6).sources for address in ((4, 10**7), (3, 7))]
    examples = np.concatenate([whole, *others]).reshape(18, -1)
    assert len(np.unique(examples, axis=0)) == 18


def test_the_voices_of_each_part_are_others_and_a_mixture_has_different_ones(monkeypatch):
    sung = []
    monkeypatch.setattr(
        voices, "sing", lambda voice, n, rate, rng: sung.append(voice) or np.ones(n)
    )

    def drawn(draw):
        sung.clear()
        draw()
        mixtures = [sung[i : i + 3] for i in range(0, len(sung), 3)]
        assert all(len(set(mixture)) == 3 for mixture in mixtures)
        return set(sung)

    data = VoicesData(sources=3, sample_rate=2600)
    run, test = data.open(), data.open_test({}, 80)
    trained = drawn(lambda: run.train.batch(0, 0, range(80), 80))
    validated = drawn(
        lambda: [run.validation.batch(HELD_OUT_SEED, i, range(1), 1) for i in range(80)]
    )
    scored = drawn(lambda: [whole.sources for whole in test])
    assert min(map(len, (trained, validated, scored))) > 150
    assert max(validated) < 1000 <= min(scored)
    assert max(scored) < 2000 <= min(trained)
    assert run.held_out == {}


def test_whole_mixtures_are_a_sequence():
    wholes = VoicesData(sample_rate=2600).open_test({}, 3)
    assert [whole.name for whole in wholes] == ["voices-0", "voices-1", "voices-2"]
    assert wholes[0].sources.shape == (2, 26_000)
    more = VoicesData(sample_rate=2600).open_test({}, 9)
    for other in (wholes[-1], wholes[1:][1], more[2]):
        np.testing.assert_array_equal(wholes[2].mixture, other.sources.sum(axis=0))
    with pytest.raises(IndexError):
        wholes[3]


def test_levels_are_as_promised():
    sources = Voices(**SHAPE).batch(0, 0, range(50), 50).sources
    levels = 10 * np.log10(np.mean(sources**2, axis=-1))
    low, high = voices.LEVELS_DB
    assert low - 0.01 <= levels.min() < low + 1
    assert high - 1 < levels.max() <= high + 0.01


@pytest.mark.parametrize("index", range(10))
def test_a_voice_sings_harmonics_of_one_pitch(index):
    """In 60 ms of a melody all energy lies around multiples of some pitch near the register."""
    rate = 16000
    audio = voices.sing(index, rate, rate, random_generator("melody", index))
    frame = audio[4000:4960] * np.hanning(960)
    power = np.abs(np.fft.rfft(frame, 1 << 14)) ** 2
    hertz = np.fft.rfftfreq(1 << 14, 1 / rate)
    low, high = voices.REGISTER_HZ
    best = 0.0
    for pitch in np.arange(low / 1.4, high * 1.4, 2.0):
        number = np.clip(np.round(hertz / pitch), 1, voices.HARMONICS)
        near = np.abs(hertz - number * pitch) < 15 + 12 * number
        best = max(best, power[near].sum() / power.sum())
    assert best > 0.9
