"""Folders of real files, written here, some of them broken."""

import re

import numpy as np
import pytest
import soundfile

from audioslots_jax import UserError
from audioslots_jax.data import Speakers, batch, hold_out, scan
from audioslots_jax.data.speakers import LEVELS_DB, read_crop

SHAPE = {"sample_rate": 8000, "samples": 2000}


def tone(seconds, rate, hertz=440.0, amplitude=0.3):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def write(path, audio, rate=8000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, **options)


@pytest.fixture
def folder(tmp_path):
    """Four speakers in as many formats, and a file of every broken kind."""
    for speaker, suffix in enumerate(("wav", "flac", "ogg", "aiff")):
        for take in range(2):
            path = tmp_path / f"speaker{speaker}" / "book" / f"take{take}.{suffix}"
            write(path, tone(1.0, 8000, 200 + 300 * speaker))
    return tmp_path


def test_every_broken_file_is_named_in_one_message(folder):
    broken = folder / "speaker0"
    (broken / "text.wav").write_text("not a recording")
    (broken / "empty.flac").touch()
    write(broken / "silent.wav", np.zeros(8000))
    write(broken / "short.wav", tone(0.1, 8000))
    not_finite = tone(1.0, 8000)
    not_finite[100] = np.nan
    write(broken / "nan.wav", not_finite, subtype="FLOAT")
    whole = folder / "whole.flac"
    write(whole, np.random.default_rng(0).uniform(-0.5, 0.5, 8000))
    (broken / "cut.flac").write_bytes(whole.read_bytes()[:8000])
    write(broken / "44100.wav", tone(1.0, 44100), 44100)
    (broken / "notes.txt").write_text("ignored: no recording by name")

    recordings, summary = scan(folder, **SHAPE)
    assert {name: len(found) for name, found in recordings.items()} == {
        "speaker0": 3, "speaker1": 2, "speaker2": 2, "speaker3": 2,
    }  # fmt: skip
    assert "9 recordings of 4 speakers" in summary
    assert "6 of 15 files left out" in summary
    assert "1 resampled to 8000 Hz (speaker0/44100.wav)" in summary
    for kind, files in {
        "unreadable": r"(text\.wav|empty\.flac|cut\.flac)",
        "silent": r"silent\.wav",
        "shorter than 0.25 s": r"short\.wav",
        "with samples that are not finite": r"nan\.wav",
    }.items():
        assert re.search(rf"\d {kind} \([^)]*{files}", summary), (kind, summary)
    assert "cut.flac" in summary
    assert "notes.txt" not in summary


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: None, "there is no folder"),
        (lambda root: root.mkdir(), "no recordings in"),
        (lambda root: write(root / "a" / "silent.wav", np.zeros(8000)), "nothing to train on"),
    ],
)
def test_unusable_folders_are_one_sentence(tmp_path, make, sentence):
    make(tmp_path / "root")
    with pytest.raises(UserError, match=sentence):
        scan(tmp_path / "root", **SHAPE)


def test_examples_depend_on_their_address_and_pair_different_speakers(folder):
    recordings, _ = scan(folder, **SHAPE)
    mixtures = Speakers(recordings, **SHAPE)
    whole = batch(mixtures, 1, 5, range(30))
    np.testing.assert_array_equal(batch(mixtures, 1, 5, range(10, 20)), whole[10:20])
    # Each speaker has a frequency of their own.
    hertz = np.fft.rfftfreq(2000, 1 / 8000)[np.abs(np.fft.rfft(whole)).argmax(-1)]
    assert np.all(np.abs(hertz[:, 0] - hertz[:, 1]) > 200)
    levels = 10 * np.log10(np.mean(whole**2, axis=-1))
    assert LEVELS_DB[0] - 0.5 < levels.min() < levels.max() < LEVELS_DB[1] + 0.5
    assert np.ptp(levels) > 5


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
@pytest.mark.parametrize("place", [0.0, 0.37, 0.999])
def test_a_crop_is_what_the_file_holds_there(tmp_path, rate, place):
    write(tmp_path / "a" / "tone.wav", np.stack([tone(1.0, rate)] * 2, 1), rate, subtype="FLOAT")
    recording = scan(tmp_path, **SHAPE)[0]["a"][0]
    crop = read_crop(recording, place, 2000, 8000)
    length = int(np.ceil(2000 * rate / 8000))
    start = int(place * (rate - length + 1)) / rate
    expected = 0.3 * np.sin(2 * np.pi * 440 * (start + np.arange(2000) / 8000))
    # The filter has no past at the start of a file; a cut is exact to a sample of the model's rate.
    inner = slice(100, -100)
    tolerance = 1e-6 if rate == 8000 else 0.3 * 2 * np.pi * 440 / 8000
    np.testing.assert_allclose(crop[inner], expected[inner], atol=tolerance)


def test_active_crops_avoid_pauses(tmp_path):
    audio = np.concatenate([np.zeros(40_000), tone(1.0, 8000)])
    for speaker in "ab":
        write(tmp_path / speaker / "mostly_pause.wav", audio)
    recordings, _ = scan(tmp_path, **SHAPE)

    def silent(active):
        sources = batch(Speakers(recordings, **SHAPE, active=active), 0, 0, range(20))
        return np.sum(np.max(np.abs(sources), axis=-1) == 0)

    assert silent(active=False) > 10
    assert silent(active=True) == 0


def test_a_file_lost_during_training_is_replaced(folder):
    recordings, _ = scan(folder, **SHAPE)
    mixtures = Speakers(recordings, **SHAPE)
    lost = recordings["speaker1"][0].path
    lost.unlink()
    with pytest.warns(UserWarning, match=re.escape(str(lost))):
        batch(mixtures, 0, 0, range(20))
    recordings["speaker1"][1].path.unlink()
    with (
        pytest.raises(UserError, match="can be read any more"),
        pytest.warns(UserWarning, match="takes its place"),
    ):
        batch(mixtures, 0, 0, range(20))


def test_held_out_speakers_are_others(folder):
    recordings, _ = scan(folder, **SHAPE)
    train, held_out = hold_out(recordings, sources=2)
    assert len(train) == len(held_out) == 2
    assert train.keys() | held_out.keys() == recordings.keys()
    assert hold_out(dict(reversed(recordings.items())), 2)[1].keys() == held_out.keys()
    del recordings["speaker0"]
    with pytest.raises(UserError, match="3 speakers, but 4 are needed"):
        hold_out(recordings, sources=2)


def test_real_speech(speech):
    recordings, summary = scan(speech / "speakers" / "dev", sample_rate=8000, samples=4000)
    assert summary.endswith("13 speakers; 119 resampled to 8000 Hz ("
                            + summary.split("Hz (")[1])  # fmt: skip
    sources = batch(
        Speakers(recordings, sample_rate=8000, samples=4000, active=True), 0, 0, range(8)
    )
    assert np.all(np.sqrt(np.mean(sources**2, axis=-1)) > 10 ** (-50 / 20))
