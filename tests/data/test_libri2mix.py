import csv

import numpy as np
import pytest
import soundfile

from audioslots_jax import UserError
from audioslots_jax.data import Libri2Mix, batch, libri2mix

HEADER = "mixture_ID,source_1_path,source_1_gain,source_2_path,source_2_gain\n"


@pytest.mark.parametrize("split", ["test-clean", "train-clean-100"])
def test_official_rows_equal_gain_times_samples(speech, split):
    root = speech / "librimix"
    rows = libri2mix.read_rows(root, split)
    with open(root / "metadata" / "Libri2Mix" / f"libri2mix_{split}.csv") as file:
        lines = list(csv.DictReader(file))
    assert len(rows) == len(lines) == {"test-clean": 60, "train-clean-100": 30}[split]
    for row, line in zip(rows, lines, strict=True):
        sources = libri2mix.read_sources(row, 0, 160_000)
        for i in (1, 2):
            audio, rate = soundfile.read(
                root / "LibriSpeech" / line[f"source_{i}_path"], dtype="float32"
            )
            assert rate == 16000
            expected = np.zeros(160_000, np.float32)
            expected[: len(audio)] = (np.float32(line[f"source_{i}_gain"]) * audio)[:160_000]
            np.testing.assert_array_equal(sources[i - 1], expected)
        np.testing.assert_array_equal(libri2mix.read_sources(row, 777, 8000), sources[:, 777:8777])


def test_active_crops_have_two_voices(speech):
    rows = libri2mix.read_rows(speech / "librimix", "test-clean")
    sources = batch(Libri2Mix(rows, samples=8000, active=True), 0, 0, range(32))
    assert np.sqrt(np.mean(sources**2, axis=-1)).min() > 10 ** (libri2mix.QUIETEST_DB / 20)


def test_damaged_files_are_replaced_and_named(tmp_path):
    def write(name, samples=12000, rate=16000, channels=1):
        audio = np.random.default_rng(0).uniform(-0.1, 0.1, (samples, channels))
        soundfile.write(tmp_path / name, audio, rate)
        return tmp_path / name

    good, cut = write("good.flac"), write("cut.flac")
    cut.write_bytes(cut.read_bytes()[:10_000])
    rows = [
        libri2mix.Row("cut", (good, cut), (1.0, 1.0)),
        libri2mix.Row("stereo", (write("stereo.flac", channels=2), good), (1.0, 1.0)),
        libri2mix.Row("slow", (good, write("slow.flac", rate=8000)), (1.0, 1.0)),
        libri2mix.Row("good", (good, good), (1.0, 0.5)),
    ]
    for row, problem in zip(rows, ("cannot be used", "2 channel", "8000 Hz"), strict=False):
        with pytest.raises(UserError, match=f"mixture {row.mixture_id}: .*{problem}"):
            libri2mix.read_sources(row, 0, 12000)
    with pytest.warns(UserWarning, match="Another mixture takes its place"):
        sources = batch(Libri2Mix(rows, samples=8000), 0, 0, range(8))
    np.testing.assert_array_equal(sources[:, 1], 0.5 * sources[:, 0])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "No such file"),
        ("a,b\n1,2\n", "not the official metadata: 'mixture_ID'"),
        (HEADER + "m,a.flac,loud,b.flac,1\n", "not the official metadata.*loud"),
        (HEADER + "m,a.flac,1,b.flac,1\n", "1 mixtures, of whose utterances 2 are missing"),
    ],
)
def test_wrong_metadata_is_one_sentence(tmp_path, text, sentence):
    if text is not None:
        path = tmp_path / "metadata" / "Libri2Mix" / "libri2mix_dev-clean.csv"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        libri2mix.read_rows(tmp_path, "dev-clean")
