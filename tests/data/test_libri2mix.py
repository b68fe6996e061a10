"""Whole mixtures, against an independent reading of the same files."""

import csv
import shutil

import numpy as np
import pytest
import soundfile

from audioslots_jax import UserError
from audioslots_jax.data import Libri2Mix, Libri3Mix
from tests.data.files import HEADER, write

OFFICIAL = {"test": ("test-clean", 60), "train-100": ("train-clean-100", 30)}


def read_independently(root, subset, count=2):
    """(id, sources of their own lengths, speakers) of every row, by csv, soundfile and numpy."""
    with open(root / "metadata" / f"Libri{count}Mix" / f"libri{count}mix_{subset}.csv") as file:
        for line in csv.DictReader(file):
            sources, speakers = [], []
            for i in "123"[:count]:
                path = line[f"source_{i}_path"]
                audio, rate = soundfile.read(root / "LibriSpeech" / path, dtype="float32")
                assert rate == 16000
                sources.append(np.float32(line[f"source_{i}_gain"]) * audio)
                speakers.append(int(path.split("/")[1]))
            yield line["mixture_ID"], sources, tuple(speakers)


@pytest.mark.parametrize(("split", "origin"), [("test", "store"), ("train-100", "files")])
def test_official_rows_equal_gain_times_samples(request, speech, split, origin):
    files = speech / "librimix"
    root = files if origin == "files" else request.getfixturevalue("stored_speech")
    subset, count = OFFICIAL[split]
    shortest, longest = (Libri2Mix(root, split, mode) for mode in ("min", "max"))
    paper = Libri2Mix(root, split, "max", seconds=10.0)
    assert len(shortest) == len(longest) == len(paper) == count
    for i, (mixture_id, sources, speakers) in enumerate(read_independently(files, subset)):
        least, most = sorted(map(len, sources))
        padded = np.stack([np.pad(source, (0, most - len(source))) for source in sources])
        ten = np.pad(padded, ((0, 0), (0, max(160_000 - most, 0))))[:, :160_000]
        for mixtures, expected in ((shortest, padded[:, :least]), (longest, padded), (paper, ten)):
            item = mixtures[i]
            assert (item.mixture_id, item.speaker_ids, item.sample_rate) == (
                mixture_id, speakers, 16000,
            )  # fmt: skip
            assert item.sources.dtype == item.mixture.dtype == np.float32
            np.testing.assert_array_equal(item.sources, expected)
            np.testing.assert_array_equal(item.mixture, expected[0] + expected[1])


def test_official_rows_of_three_speakers(speech):
    mixtures = Libri3Mix(speech / "libri3mix", "test")
    assert len(mixtures) == 20
    rows = read_independently(speech / "libri3mix", "test-clean", 3)
    for item, (mixture_id, sources, speakers) in zip(mixtures, rows, strict=True):
        least = min(map(len, sources))
        expected = np.stack([source[:least] for source in sources])
        assert (item.mixture_id, item.speaker_ids) == (mixture_id, speakers)
        np.testing.assert_array_equal(item.sources, expected)
        np.testing.assert_array_equal(item.mixture, expected.sum(axis=0))
    assert isinstance(mixtures[3:5], Libri3Mix)
    crops = np.empty((1, 3, 1000), np.float32)
    mixtures.read(np.array([4]), np.array([500]), crops)
    np.testing.assert_array_equal(crops[0], mixtures[4].sources[:, 500:1500])


@pytest.mark.parametrize(("mode", "seconds"), [("min", None), ("max", None), ("max", 5.0)])
@pytest.mark.parametrize("length", [20_000, 70_000])
def test_noise_is_the_first_channel_faded_into_itself_where_it_is_short(
    librimix, tmp_path, mode, seconds, length
):
    recorded = np.random.default_rng(0).normal(0, 0.1, (length, 2))
    soundfile.write(tmp_path / "noise.wav", recorded, 16000, subtype="FLOAT")
    clean = Libri2Mix(librimix, "dev", mode, seconds=seconds)[2]
    noisy = Libri2Mix(librimix, "dev", mode, seconds=seconds, noise=tmp_path)[2]
    np.testing.assert_array_equal(noisy.sources, clean.sources)
    longest = len(Libri2Mix(librimix, "dev", "max")[2].mixture)
    # Copies that begin every length less a fade, each rising and falling as the next one rises.
    repeated, first = np.zeros(longest + length), recorded[:, 0].astype(np.float32)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(8001) / 8000)
    for start in range(0, longest, length - 8001):
        copy = first.astype(np.float64)
        if start:
            copy[:8001] *= ramp
        if start + length < longest:
            copy[-8001:] *= ramp[::-1]
        repeated[start : start + length] += copy
        if start + length >= longest:
            break
    heard = np.zeros(len(clean.mixture))
    kept = min(len(heard), len(Libri2Mix(librimix, "dev", mode)[2].mixture))
    heard[:kept] = repeated[:kept]
    heard = (heard.astype(np.float32) * (0.7 + 2 / 10)).astype(np.float32)  # by its own gain
    np.testing.assert_allclose(noisy.mixture - clean.mixture, heard, atol=1e-6)
    if length >= longest:  # nothing is faded
        expected = np.stack([*clean.sources, heard]).sum(axis=0)
        np.testing.assert_array_equal(noisy.mixture, expected)


def test_noise_that_is_missing_is_named(librimix, tmp_path):
    with pytest.raises(UserError, match=r"noise\.wav cannot be read; put the noise of WHAM"):
        Libri2Mix(librimix, "dev", noise=tmp_path)[0]


def test_metadata_that_is_missing_is_named(tmp_path):
    (tmp_path / "LibriSpeech").mkdir()
    with pytest.raises(
        UserError, match=r"libri3mix_test-clean\.csv cannot be read .*Libri3Mix needs"
    ):
        Libri3Mix(tmp_path, "test")


def test_it_is_a_sequence(librimix):
    mixtures = Libri2Mix(librimix, "dev")
    ids = [mixture.mixture_id for mixture in mixtures]
    assert ids == [f"dev-clean-{i}" for i in range(8)]
    assert mixtures[-1].mixture_id == ids[-1]
    part = mixtures[1:7:2]
    assert isinstance(part, Libri2Mix)
    assert [row.mixture_id for row in part.rows] == ids[1:7:2]
    assert part[-1].mixture_id == ids[5]
    np.testing.assert_array_equal(part[1:][0].sources, mixtures[3].sources)
    with pytest.raises(IndexError):
        mixtures[8]


def test_a_length_cuts_what_the_mode_leaves(librimix):
    whole = Libri2Mix(librimix, "dev", "min")[0]
    longer = Libri2Mix(librimix, "dev", "min", seconds=5.0)[0]
    assert longer.sources.shape == (2, 80_000)
    np.testing.assert_array_equal(longer.sources[:, : len(whole.mixture)], whole.sources)
    assert not longer.sources[:, len(whole.mixture) :].any()


def test_reading_a_piece_is_a_piece_of_the_whole(librimix, stored):
    for root in (librimix, stored):
        mixtures = Libri2Mix(root, "train-100", "max")
        whole = mixtures[2].sources
        for start in (0, 777, whole.shape[1] - 500, 100_000):
            expected = np.pad(whole, ((0, 0), (0, 120_000)))[:, start : start + 1000]
            crops = np.full((2, 2, 1000), np.nan, np.float32)
            mixtures.read(np.array([5, 2]), np.array([0, start]), crops)
            np.testing.assert_array_equal(crops[0], mixtures[5].sources[:, :1000])
            np.testing.assert_array_equal(crops[1], expected)


def test_missing_utterances_are_counted_and_can_be_left_out(librimix, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(librimix, root)
    lost = "dev-clean/101/7/1-7-0000.flac"
    (root / "LibriSpeech" / lost).unlink()
    with pytest.raises(UserError, match=rf"lacks 1 of .*{lost}.*6 mixtures of 8.*allow_missing"):
        Libri2Mix(root, "dev")
    mixtures = Libri2Mix(root, "dev", allow_missing=True)
    whole = Libri2Mix(librimix, "dev")
    left = [i for i, row in enumerate(whole.rows) if lost not in row.utterances]
    assert mixtures.rows == [whole.rows[i] for i in left]
    for mixture, i in zip(mixtures, left, strict=True):
        np.testing.assert_array_equal(mixture.sources, whole[i].sources)
    shutil.rmtree(root / "LibriSpeech" / "dev-clean")
    with pytest.raises(UserError, match="lacks 8"):
        Libri2Mix(root, "dev", allow_missing=True)


def test_a_damaged_utterance_is_named_with_its_row(librimix, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(librimix, root)
    cut, rate, stereo, text = (
        root / "LibriSpeech" / row.utterances[0]
        for row in Libri2Mix(root, "dev").rows[:4]
    )  # fmt: skip
    cut.write_bytes(cut.read_bytes()[:20_000])
    write(rate, np.zeros(8000), 8000)
    write(stereo, np.zeros((16000, 2)), 16000)
    text.write_text("no audio")
    mixtures = Libri2Mix(root, "dev")
    for i, (path, problem) in enumerate(
        [(cut, ""), (rate, "8000 Hz"), (stereo, "2 channel"), (text, "cannot be read")]
    ):
        with pytest.raises(UserError, match=f"^{path}.*{problem}"):
            mixtures[i]
        with pytest.raises(UserError, match=f"^{path}.*{problem}"):
            mixtures.read(
                np.array([4, i]), np.array([0, 12_000]), np.empty((2, 2, 8000), np.float32)
            )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "libri2mix_dev-clean.csv cannot be read .No such file"),
        ("", "has no rows"),
        ("a,b\n1,2\n", "has no column 'mixture_ID'"),
        (f"{HEADER}\nm,s/1/a.flac,loud,s/2/b.flac,1\n", "line 2: a path or gain"),
        (f"{HEADER}\nm,a.flac,1,b.flac,1\n", "line 2: a path or gain"),
        (f"{HEADER}\nm,s/1/a.flac\n", "line 2: a path or gain"),
        (f"{HEADER}\nm,s/1/a.flac,nan,s/2/b.flac,1\n", "line 2: a path or gain"),
        (f"{HEADER}\n\n\nm,s/1/a.flac,0,s/2/b.flac,1\n", "line 4: a path or gain"),
        (f"{HEADER}\nm,s/1/a.flac,1,s/2/b.flac,-inf\n", "line 2: a path or gain"),
        (f'{HEADER}\nm,"s/1/{"a" * 200_000}', "cannot be read .it is no CSV"),
        (
            f"{HEADER}\nm,s/1/a.flac,1,s/1/b.flac,1\n",
            "line 2: a path or gain cannot be, or one speaker is",
        ),
    ],
)
def test_wrong_metadata_is_one_sentence(tmp_path, text, sentence):
    if text is not None:
        path = tmp_path / "metadata" / "Libri2Mix" / "libri2mix_dev-clean.csv"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    with pytest.raises(UserError, match=sentence) as caught:
        Libri2Mix(tmp_path, "dev")
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_a_column(librimix, tmp_path):
    shutil.copytree(librimix, tmp_path / "copy")
    path = next((tmp_path / "copy").glob("metadata/*/*dev*"))
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    assert Libri2Mix(tmp_path / "copy", "dev").rows == Libri2Mix(librimix, "dev").rows


@pytest.mark.parametrize("wrong", [("dev-clean", "min"), ("dev", "mean")])
def test_unknown_splits_and_modes_are_refused(librimix, wrong):
    with pytest.raises(ValueError, match="splits train-100, train-360, dev, test and modes min"):
        Libri2Mix(librimix, *wrong)
    with pytest.raises(ValueError, match=r"seconds is -1\.0; it must be above 0"):
        Libri2Mix(librimix, "dev", seconds=-1.0)
