import numpy as np
import pytest

from audioslots_jax.data import Voices, voices
from audioslots_jax.data.mixtures import random_generator

SHAPE = {"sample_rate": 8000, "samples": 1000}


def test_an_example_depends_on_its_address_alone():
    mixtures = Voices(**SHAPE)
    whole = mixtures.batch(3, 10_000_000, range(6), 6)
    assert whole.shape == (6, 2, 1000)
    np.testing.assert_array_equal(Voices(**SHAPE).batch(3, 10_000_000, range(2, 4), 6), whole[2:4])
    others = [mixtures.batch(*address, range(6), 6) for address in ((4, 10_000_000), (3, 7))]
    examples = np.concatenate([whole, *others]).reshape(18, -1)
    assert len(np.unique(examples, axis=0)) == 18


@pytest.mark.parametrize("held_out", [False, True])
def test_held_out_voices_are_disjoint_and_a_mixture_has_two(held_out, monkeypatch):
    sung = []
    monkeypatch.setattr(
        voices, "sing", lambda voice, n, rate, rng: sung.append(voice) or np.ones(n)
    )
    Voices(**SHAPE, held_out=held_out).batch(0, 0, range(200), 200)
    assert all((voice < voices.HELD_OUT) == held_out for voice in sung)
    assert all(a != b for a, b in zip(sung[::2], sung[1::2], strict=True))
    assert len(set(sung)) > 150


def test_levels_are_as_promised():
    sources = Voices(**SHAPE).batch(0, 0, range(50), 50)
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
