"""Folders of real files, written here, some of them broken."""

import re
from pathlib import Path

import numpy as np
import pytest

from audioslots_jax import UserError
from audioslots_jax.data.recordings import Recording, read_crop, scan
from tests.data.files import SCAN, tone, write


def test_every_broken_file_is_named_in_one_message(folder):
    broken = folder / "speaker0"
    (broken / "text.wav").write_text("not a recording")
    (broken / "empty.flac").touch()
    write(broken / "silent.wav", np.zeros(8000))
    write(broken / "no_samples.wav", [])
    write(broken / "short.wav", tone(0.01, 8000))
    not_finite = tone(1.0, 8000)
    not_finite[100] = np.nan
    write(broken / "nan.wav", not_finite, subtype="FLOAT")
    not_finite[100] = 1e30
    write(broken / "huge.wav", not_finite, subtype="FLOAT")
    whole = folder / "whole.flac"
    write(whole, np.random.default_rng(0).uniform(-0.5, 0.5, 8000))
    (broken / "cut.flac").write_bytes(whole.read_bytes()[:8000])
    write(broken / "44100.wav", tone(1.0, 44100), 44100)
    (broken / "notes.txt").write_text("ignored: no recording by name")

    recordings, summary = scan(folder, **SCAN)
    assert {name: len(usable) for name, usable in recordings.items()} == {
        "speaker0": 4, "speaker1": 2, "speaker2": 2, "speaker3": 2,
    }  # fmt: skip
    assert "10 recordings of 4 speakers" in summary
    assert "7 of 17 files left out" in summary
    assert "1 resampled to 8000 Hz" in summary
    for problem, files in {
        "unreadable": r"(text\.wav|empty\.flac|cut\.flac)",
        "silent": r"silent\.wav",
        "empty": r"no_samples\.wav",
        "with samples that are not finite or far beyond full scale": r"huge\.wav, .*nan\.wav",
    }.items():
        assert re.search(rf"\d {problem} \([^)]*{files}", summary), (problem, summary)
    assert "cut.flac" in summary
    assert "notes.txt" not in summary


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: None, "there is no folder"),
        (lambda root: root.mkdir(), "no recordings in"),
        (
            lambda root: write(root / "a" / "silent.wav", np.zeros(8000)),
            "data.root: nothing usable",
        ),
    ],
)
def test_unusable_folders_are_one_sentence(tmp_path, make, sentence):
    make(tmp_path / "root")
    with pytest.raises(UserError, match=sentence):
        scan(tmp_path / "root", **SCAN)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
@pytest.mark.parametrize("position", [0.0, 0.37, 0.999])
def test_a_crop_is_what_the_file_holds_there(tmp_path, rate, position):
    write(tmp_path / "a" / "tone.wav", np.stack([tone(1.0, rate)] * 2, 1), rate, subtype="FLOAT")
    crop = read_crop(scan(tmp_path, **SCAN)[0]["a"], position, 2000, 8000)
    start = int(position * (8000 - 2000 + 1))
    expected = np.sqrt(2) * np.sin(2 * np.pi * 440 * (start + np.arange(2000)) / 8000)
    # The filter has no past at the start of a file; a cut is exact to half a sample of the model's.
    inner = slice(100, -100)
    tolerance = 1e-4 if rate == 8000 else np.sqrt(2) * 2 * np.pi * 440 / 8000 / 2
    np.testing.assert_allclose(crop[inner], expected[inner], atol=tolerance)


@pytest.mark.parametrize("position", [0.0, 0.5, 0.999])
@pytest.mark.parametrize(("samples", "joined"), [(80, 1), (101, 2), (150, 2), (500, 3), (5000, 4)])
def test_a_short_recording_goes_on_with_the_next_ones(tmp_path, samples, joined, position):
    """Each at its own RMS; what is left over is silent."""
    audio = [np.random.default_rng(i).normal(0, 0.01 * 2**i, 100 << i) for i in range(4)]
    for i, samples_of_one in enumerate(audio):
        write(tmp_path / "a" / f"{i}.wav", samples_of_one, subtype="FLOAT")
    crop = read_crop(scan(tmp_path, **SCAN)[0]["a"], position, samples, 8000)
    whole = np.concatenate([one / np.sqrt(np.mean(one**2)) for one in audio[:joined]])
    start = int(position * max(len(whole) - samples + 1, 1))
    expected = np.pad(whole, (0, samples))[start : start + samples]
    np.testing.assert_allclose(crop, expected, rtol=1e-5)


@pytest.mark.parametrize(("frames", "rate"), [(1, 44100), (7, 44100), (45, 44100), (3, 8000)])
def test_recordings_of_almost_nothing(frames, rate):
    def read(start, count):
        assert 0 <= start < start + count <= frames
        return np.ones(count, np.float32)

    crop = read_crop([Recording(Path("a"), frames, rate, 1.0, read)] * 3, 0.5, 40, 8000)
    assert crop.shape == (40,)
    assert np.count_nonzero(crop) == 3 * (frames * 8000 // rate)
