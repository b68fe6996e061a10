"""Folders of real files, written here, some of them broken."""

import re

import numpy as np
import pytest

from audioslots_jax import UserError
from audioslots_jax.data import scan
from audioslots_jax.data.recordings import read_crop
from tests.data.files import SCAN, tone, write


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

    recordings, summary = scan(folder, **SCAN)
    assert {name: len(found) for name, found in recordings.items()} == {
        "speaker0": 3, "speaker1": 2, "speaker2": 2, "speaker3": 2,
    }  # fmt: skip
    assert "9 recordings of 4 speakers" in summary
    assert "6 of 15 files left out" in summary
    assert "1 resampled to 8000 Hz" in summary
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
@pytest.mark.parametrize("place", [0.0, 0.37, 0.999])
def test_a_crop_is_what_the_file_holds_there(tmp_path, rate, place):
    write(tmp_path / "a" / "tone.wav", np.stack([tone(1.0, rate)] * 2, 1), rate, subtype="FLOAT")
    recording = scan(tmp_path, **SCAN)[0]["a"][0]
    crop = read_crop(recording, place, 2000, 8000)
    length = int(np.ceil(2000 * rate / 8000))
    start = int(place * (rate - length + 1)) / rate
    expected = 0.3 * np.sin(2 * np.pi * 440 * (start + np.arange(2000) / 8000))
    # The filter has no past at the start of a file; a cut is exact to a sample of the model's rate.
    inner = slice(100, -100)
    tolerance = 1e-6 if rate == 8000 else 0.3 * 2 * np.pi * 440 / 8000
    np.testing.assert_allclose(crop[inner], expected[inner], atol=tolerance)
