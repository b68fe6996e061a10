"""Mixtures of speakers in folders of real files."""

import re

import numpy as np
import pytest

from audioslots_jax import UserError
from audioslots_jax.data import Speakers, hold_out, scan
from audioslots_jax.data.speakers import LEVELS_DB
from tests.data.files import SCAN, SHAPE, tone, write


def test_examples_depend_on_their_address_and_pair_different_speakers(folder):
    recordings, _ = scan(folder, **SCAN)
    mixtures = Speakers(recordings, **SHAPE)
    whole = mixtures.batch(1, 5, range(30), 30)
    np.testing.assert_array_equal(mixtures.batch(1, 5, range(10, 20), 30), whole[10:20])
    # Each speaker has a frequency of their own.
    hertz = np.fft.rfftfreq(2000, 1 / 8000)[np.abs(np.fft.rfft(whole)).argmax(-1)]
    assert np.all(np.abs(hertz[:, 0] - hertz[:, 1]) > 200)
    levels = 10 * np.log10(np.mean(whole**2, axis=-1))
    assert LEVELS_DB[0] - 0.5 < levels.min() < levels.max() < LEVELS_DB[1] + 0.5
    assert np.ptp(levels) > 5


def test_active_crops_avoid_pauses(tmp_path):
    audio = np.concatenate([np.zeros(40_000), tone(1.0, 8000)])
    for speaker in "ab":
        write(tmp_path / speaker / "mostly_pause.wav", audio)
    recordings, _ = scan(tmp_path, **SCAN)

    def silent(active):
        sources = Speakers(recordings, **SHAPE, active=active).batch(0, 0, range(20), 20)
        return np.sum(np.max(np.abs(sources), axis=-1) == 0)

    assert silent(active=False) > 10
    assert silent(active=True) == 0


def test_a_file_lost_during_training_is_replaced(folder):
    recordings, _ = scan(folder, **SCAN)
    mixtures = Speakers(recordings, **SHAPE)
    lost = recordings["speaker1"][0].path
    lost.unlink()
    with pytest.warns(UserWarning, match=re.escape(str(lost))):
        mixtures.batch(0, 0, range(20), 20)
    recordings["speaker1"][1].path.unlink()
    with (
        pytest.raises(UserError, match="has a crop that can be used"),
        pytest.warns(UserWarning, match="takes its place"),
    ):
        mixtures.batch(0, 0, range(20), 20)


def test_held_out_speakers_are_others(folder):
    recordings, _ = scan(folder, **SCAN)
    train, held_out = hold_out(recordings, sources=2)
    assert len(train) == len(held_out) == 2
    assert train.keys() | held_out.keys() == recordings.keys()
    assert hold_out(dict(reversed(recordings.items())), 2)[1].keys() == held_out.keys()
    del recordings["speaker0"]
    with pytest.raises(UserError, match="3 speakers, but 4 are needed"):
        hold_out(recordings, sources=2)


def test_real_speech(speech):
    root = speech / "speakers" / "dev"
    recordings, summary = scan(root, field="data.root", sample_rate=8000, samples=4000)
    assert summary.endswith("119 recordings of 13 speakers; 119 resampled to 8000 Hz.")
    mixtures = Speakers(recordings, sample_rate=8000, samples=4000, active=True)
    sources = mixtures.batch(0, 0, range(8), 8)
    assert np.all(np.sqrt(np.mean(sources**2, axis=-1)) > 10 ** (-50 / 20))
