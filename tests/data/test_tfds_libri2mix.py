import contextlib
import csv
import json
import subprocess
import sys
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums, downloader
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.scripts.cli import build as tfds_build
from tensorflow_datasets.scripts.cli import cli_utils

from audioslots_jax import UserError
from audioslots_jax.data import tfds_libri2mix
from audioslots_jax.data.libri2mix import SPLITS
from audioslots_jax.data.tfds_libri2mix import Libri2mix
from tests.data.files import write_librimix

# Splits of TFDS, and the subset of LibriSpeech that each is made of.
SUBSETS = {"train": "train-clean-100", "validation": "dev-clean", "test": "test-clean"}
MODES = ("min", "max")
ROWS = 8  # of each subset that `write_librimix` writes
METADATA_HOME = "https://raw.githubusercontent.com/JorisCos/LibriMix/master/metadata/Libri2Mix"
LIBRISPEECH_HOME = "http://www.openslr.org/resources/12"
# What one gets without this project's code at hand, and by name.
LOAD = """
import sys

import numpy as np
import tensorflow_datasets as tfds

folder, name = sys.argv[1:]
from_files = tfds.builder_from_directory(f"{folder}/{name}/1.0.0").as_dataset(split="test")

import audioslots_jax.data.tfds_libri2mix

by_name = tfds.load(name, split="test", data_dir=folder, download=False)
for one, other in zip(from_files, by_name, strict=True):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])
print([example["mixture_id"].decode() for example in tfds.as_numpy(by_name)])
"""


@pytest.fixture
def by_hand(tmp_path):
    """A folder like the one Libri2Mix is made of, with all subsets."""
    return write_librimix(tmp_path / "by_hand", SUBSETS.values())


def read_lines(root, subset):
    with open(root / "metadata" / "Libri2Mix" / f"libri2mix_{subset}.csv") as file:
        return list(csv.DictReader(file))


def build(data_dir, config, root=None, **options):
    builder = tfds.builder(f"libri2mix/{config}", data_dir=data_dir, **options)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=root))
    return builder


def records(builder, split):
    """The stored examples, without what is made of them."""
    paths = [str(path) for path in builder.info.splits[split].filepaths]
    return [
        tf.train.Example.FromString(record).features.feature
        for record in tf.data.TFRecordDataset(paths).as_numpy_iterator()
    ]


def assert_official(examples, root, subset, mode):
    """Compares with a reading by csv, soundfile and numpy alone."""
    lines = {line["mixture_ID"]: line for line in read_lines(root, subset)}
    examples = {example["mixture_id"].decode(): example for example in examples}
    assert examples.keys() == lines.keys()
    for mixture_id, example in examples.items():
        paths = [lines[mixture_id][f"source_{i}_path"] for i in (1, 2)]
        gains = [np.float32(lines[mixture_id][f"source_{i}_gain"]) for i in (1, 2)]
        audio = [soundfile.read(root / "LibriSpeech" / path, dtype="float32")[0] for path in paths]
        lengths = [len(samples) for samples in audio]
        sources = np.zeros((2, max(lengths)), np.float32)
        for source, samples, gain in zip(sources, audio, gains, strict=True):
            source[: len(samples)] = gain * samples
        if mode == "min":
            sources = sources[:, : min(lengths)]
        assert example.keys() == {
            "mixture_id",
            "sources",
            "mixture",
            "sample_rate",
            "speaker_ids",
        }
        assert example["sources"].dtype == example["mixture"].dtype == np.float32
        np.testing.assert_array_equal(example["sources"], sources)
        np.testing.assert_array_equal(example["mixture"], sources[0] + sources[1])
        assert example["sample_rate"] == 16000
        assert example["speaker_ids"].dtype == np.int64
        assert [str(speaker) for speaker in example["speaker_ids"]] == [
            path.split("/")[1] for path in paths
        ]


@pytest.mark.parametrize("mode", MODES)
def test_items_are_the_metadata_applied_to_flac(tmp_path, by_hand, mode):
    builder = build(tmp_path, f"{mode}_100", by_hand)
    assert {
        name: split.num_examples for name, split in builder.info.splits.items()
    } == dict.fromkeys(SUBSETS, ROWS)
    for split, subset in SUBSETS.items():
        dataset = builder.as_dataset(split=split)
        assert dataset.element_spec == builder.info.features.get_tensor_spec()
        assert_official(dataset.as_numpy_iterator(), by_hand, subset, mode)


def test_real_speech(tmp_path, speech):
    root = speech / "librimix"
    builder = build(tmp_path, "max_100", root)
    assert builder.info.splits.keys() == {"train", "test"}  # there is no metadata of dev
    examples = builder.as_dataset(split="train").as_numpy_iterator()
    assert_official(examples, root, "train-clean-100", "max")
    flac = [
        (root / "LibriSpeech" / line[f"source_{i}_path"]).stat().st_size
        for split in ("train", "test")
        for line in read_lines(root, SUBSETS[split])
        for i in (1, 2)
    ]
    # Nothing is mixed on disk.
    assert sum(flac) < builder.info.dataset_size < 1.002 * sum(flac)


def test_a_record_is_the_flac_files_and_gains_in_both_modes(tmp_path, by_hand):
    lines = {line["mixture_ID"]: line for line in read_lines(by_hand, "test-clean")}
    for mode in MODES:
        for record in records(build(tmp_path, f"{mode}_100", by_hand), "test"):
            assert record.keys() == {"mixture_id", "utterances", "gains", "speaker_ids"}
            line = lines[record["mixture_id"].bytes_list.value[0].decode()]
            for i in (1, 2):
                flac = (by_hand / "LibriSpeech" / line[f"source_{i}_path"]).read_bytes()
                assert record["utterances"].bytes_list.value[i - 1] == flac
                gain = record["gains"].float_list.value[i - 1]
                assert gain == np.float32(line[f"source_{i}_gain"])


@pytest.mark.parametrize("mode", MODES)
def test_random_access_without_tensorflow(tmp_path, by_hand, mode):
    builder = build(tmp_path, f"{mode}_100", by_hand, file_format="array_record")
    source = builder.as_data_source(split="test")
    assert len(source) == ROWS
    assert_official([source[i] for i in reversed(range(ROWS))], by_hand, "test-clean", mode)


def test_command_line_and_a_new_process(tmp_path, by_hand):
    """What `tfds build` runs; its sister commands import packages that TFDS does not require."""
    parser = cli_utils.make_flags_parser(tfds_build.Args, description="")
    command = ["tfds", "libri2mix", f"--imports={tfds_libri2mix.__name__}", "--config=max_100"]
    parser([*command, f"--manual_dir={by_hand}", f"--data_dir={tmp_path}"]).execute()
    command = [sys.executable, "-c", LOAD, str(tmp_path), "libri2mix/max_100"]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in read_lines(by_hand, "test-clean"):
        assert line["mixture_ID"] in loaded


def test_configs():
    assert Libri2mix.builder_configs.keys() == {"min_100", "min_360", "max_100", "max_360"}
    # What Asteroid and torchaudio take if nothing else is asked for.
    assert Libri2mix.default_builder_config.name == "min_360"


# Files by hand


def test_splits_without_metadata_are_left_out(tmp_path, by_hand):
    builder = build(tmp_path, "min_360", by_hand)
    assert builder.info.splits.keys() == {"validation", "test"}


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: root.rename(root.with_name("other")), "by_hand has no metadata/Libri2Mix/ "),
        (
            lambda root: [path.unlink() for path in root.glob("metadata/*/*.csv")],
            "by_hand has no metadata/Libri2Mix/ with metadata of train-100, dev or test; put ",
        ),
        (
            lambda root: [
                path.unlink() for path in root.glob("LibriSpeech/test-clean/*/7/*1.flac")
            ],
            r"lacks 4 of the utterances that Libri2Mix test is made of "
            r"\(test-clean/200/7/0-7-0001.flac, .*, \.\.\.\); put LibriSpeech's test-clean there",
        ),
        (
            lambda root: move(root / "metadata/Libri2Mix/libri2mix_test-clean.csv"),
            "line 2: a path or gain cannot be, or .*; fetch the official metadata again",
        ),
        (
            lambda root: cut(root / "LibriSpeech/test-clean/200/7/0-7-0001.flac"),
            "0-7-0001.flac (cannot be read|is cut off).*; fetch it again",
        ),
        (
            lambda root: soundfile.write(
                root / "LibriSpeech/dev-clean/100/7/0-7-0001.flac", np.zeros(99), 8000
            ),
            r"0-7-0001.flac has 1 channel\(s\) at 8000 Hz",
        ),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(tmp_path, by_hand, spoil, sentence):
    spoil(by_hand)
    with pytest.raises(UserError, match=sentence):
        build(tmp_path, "min_100", by_hand)
    assert not list((tmp_path / "libri2mix" / "min_100").iterdir())


def move(metadata):
    metadata.write_text(metadata.read_text().replace("test-clean/200/7/", ""))


def cut(flac):
    flac.write_bytes(flac.read_bytes()[:-100])


# Downloads


@pytest.fixture
def internet(tmp_path, monkeypatch):
    """Small archives and metadata in place of the real ones, and the addresses asked for."""
    folder = write_librimix(tmp_path / "internet", SUBSETS.values())
    files = {}
    for subset in SUBSETS.values():
        path = folder / "metadata" / "Libri2Mix" / f"libri2mix_{subset}.csv"
        files[f"{METADATA_HOME}/{path.name}"] = path
        path = folder / f"{subset}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder / "LibriSpeech" / subset, f"LibriSpeech/{subset}")
        files[f"{LIBRISPEECH_HOME}/{path.name}"] = path
    asked = []

    @contextlib.contextmanager
    def open_url(url, **options):
        asked.append(url)
        yield SimpleNamespace(headers={}, url=url), [files[url].read_bytes()]

    monkeypatch.setattr(downloader, "_open_url", open_url)
    return SimpleNamespace(folder=folder, files=files, asked=asked)


@pytest.fixture
def right_checksums(internet, monkeypatch):
    """Those of the small archives."""
    infos = {
        url: checksums.compute_url_info(path)
        for url, path in internet.files.items()
        if url.endswith(".tar.gz")
    }
    monkeypatch.setattr(Libri2mix, "url_infos", infos)


@pytest.mark.usefixtures("right_checksums")
def test_downloads_from_the_public_homes(tmp_path, internet):
    builder = build(tmp_path, "max_100")
    assert sorted(internet.asked) == sorted(internet.files)
    for split, subset in SUBSETS.items():
        examples = builder.as_dataset(split=split).as_numpy_iterator()
        assert_official(examples, internet.folder, subset, "max")
    # TFDS notes the checksums of the metadata, knows no others, and takes it from its cache.
    notes = [json.loads(path.read_text()) for path in tmp_path.rglob("*.csv*.INFO*")]
    assert {note["url_info"]["checksum"] for note in notes} == {
        checksums.compute_url_info(path).checksum
        for url, path in internet.files.items()
        if url.endswith(".csv")
    }
    build(tmp_path, "min_100")
    assert len(internet.asked) == len(internet.files)


def test_archives_are_checked_against_the_public_checksums(tmp_path, internet):
    assert Libri2mix.url_infos.keys() == {
        f"{LIBRISPEECH_HOME}/{subset}.tar.gz" for subset in SPLITS.values()
    }
    # TFDS has a builder of LibriSpeech.
    public = checksums.load_url_infos(
        tfds.core.tfds_path() / "datasets" / "librispeech" / "checksums.tsv"
    )
    assert all(public[url] == info for url, info in Libri2mix.url_infos.items())
    with pytest.raises(NonMatchingChecksumError):
        build(tmp_path, "max_100")


def test_wrong_metadata_is_refused_before_archives_are_fetched(tmp_path, internet):
    internet.files[f"{METADATA_HOME}/libri2mix_dev-clean.csv"].write_text("mixture_ID\n")
    with pytest.raises(UserError, match="has no rows; fetch the official metadata again"):
        build(tmp_path, "max_100")
    assert all(url.startswith(METADATA_HOME) for url in internet.asked)
