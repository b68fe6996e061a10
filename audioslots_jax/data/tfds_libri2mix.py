"""Libri2Mix (Cosentino et al. 2020) as a TFDS data set; importing this module registers it.

    import tensorflow_datasets as tfds

    import audioslots_jax.data.tfds_libri2mix

    mixtures = tfds.load("libri2mix/max_360", split="test")
    next(iter(mixtures))["sources"].shape  # (2, samples)

The first load builds it. So does the command line, which imports more than TFDS 4.9.10 requires:

    pip install "audioslots_jax[tfds]"
    tfds build libri2mix --imports=audioslots_jax.data.tfds_libri2mix --config=max_360

Nothing is mixed on disk: a record holds the FLAC files of the two utterances as LibriSpeech has
them, and the two gains. They become ``sources`` and ``mixture`` when the example is read, by
`libri2mix.mix`, which `Libri2Mix` uses too. A split takes as much room as the FLAC files that its
rows name (those named twice, twice), and the same in mode ``min`` and ``max``.

With ``--manual_dir=FOLDER`` (`tfds.download.DownloadConfig.manual_dir`), the files come from a
folder that holds ``LibriSpeech/`` and ``metadata/Libri2Mix/``, and only splits whose metadata is in
it are built. Otherwise LibriSpeech's archives come from openslr.org and the metadata from GitHub.
The archives are checked against the sizes and SHA-256 sums in ``checksums.tsv``. For the metadata
no sums are recorded: TFDS takes it as it comes (and refuses it under
``--force_checksums_validation``), so its number of rows is checked instead.
"""

import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging
from jaxtyping import Float32

from audioslots_jax.data.libri2mix import (
    METADATA,
    SOURCES,
    SPLITS,
    Row,
    lacking,
    metadata_path,
    mix,
    read_metadata,
)
from audioslots_jax.data.utterances import SAMPLE_RATE, FlacFiles, read_flac
from audioslots_jax.errors import UserError

LIBRISPEECH_URL = "http://www.openslr.org/resources/12"
METADATA_URL = f"https://raw.githubusercontent.com/JorisCos/LibriMix/master/{METADATA}"
# Of the official metadata of each split.
ROWS = {"train-100": 13_900, "train-360": 50_800, "dev": 3_000, "test": 3_000}

# What is on disk.
RECORD = tfds.features.FeaturesDict(
    {
        "mixture_id": tfds.features.Text(),
        "utterances": tfds.features.Tensor(shape=(SOURCES,), dtype=np.str_),
        "gains": tfds.features.Tensor(shape=(SOURCES,), dtype=np.float32),
        "speaker_ids": tfds.features.Tensor(shape=(SOURCES,), dtype=np.int64),
    }
)


class MixtureFeatures(tfds.features.FeaturesDict):
    """What is read: a mixture, made of a `RECORD` in the moment of reading.

    TFDS decodes each feature from a field of its own. Here two features come from the same field,
    hence a container that decodes all of them at once.
    """

    def __init__(self, *, mode: str):
        """Features of mixtures in mode ``min`` or ``max``."""
        super().__init__(
            {
                "mixture_id": tfds.features.Text(doc="Name in the official metadata."),
                "sources": tfds.features.Tensor(
                    shape=(SOURCES, None),
                    dtype=np.float32,
                    doc="Waveforms at the level they are mixed with; full scale is 1.",
                ),
                "mixture": tfds.features.Audio(
                    shape=(None,),
                    dtype=np.float32,
                    sample_rate=SAMPLE_RATE,
                    doc="Sum of the sources.",
                ),
                "sample_rate": tfds.features.Scalar(np.int64, doc="In Hz."),
                "speaker_ids": tfds.features.Tensor(
                    shape=(SOURCES,), dtype=np.int64, doc="LibriSpeech's numbers of the speakers."
                ),
            },
            doc=f"A mixture of {SOURCES} speakers, in mode {mode!r}.",
        )
        self._mode = mode

    @classmethod
    def from_json_content(cls, value: dict[str, str]) -> "MixtureFeatures":
        """The features that `to_json_content` describes."""
        return cls(**value)

    def to_json_content(self) -> dict[str, str]:
        """What ``features.json`` says of them."""
        return {"mode": self._mode}

    def get_serialized_info(self) -> dict[str, Any]:
        """Shapes and types of the fields of a record."""
        return RECORD.get_serialized_info()

    def encode_example(self, example_dict: dict[str, Any]) -> dict[str, Any]:
        """A record."""
        return RECORD.encode_example(example_dict)

    def decode_example(
        self, serialized_example: dict[str, tf.Tensor], *, decoders: Any = None
    ) -> dict[str, tf.Tensor]:
        """The mixture of a record, for tf.data."""
        _refuse(decoders)
        # TensorFlow cannot read FLAC.
        sources, mixture = tf.numpy_function(
            self._mix,
            [serialized_example[name] for name in ("mixture_id", "utterances", "gains")],
            (tf.float32, tf.float32),
            stateful=False,
        )
        return {
            "mixture_id": serialized_example["mixture_id"],
            "sources": tf.ensure_shape(sources, (SOURCES, None)),
            "mixture": tf.ensure_shape(mixture, (None,)),
            "sample_rate": tf.constant(SAMPLE_RATE, tf.int64),
            "speaker_ids": serialized_example["speaker_ids"],
        }

    def decode_example_np(
        self, serialized_example: dict[str, Any], *, decoders: Any = None
    ) -> dict[str, Any]:
        """The mixture of a record, without TensorFlow."""
        _refuse(decoders)
        mixture_id = serialized_example["mixture_id"]
        sources, mixture = self._mix(
            mixture_id, serialized_example["utterances"], serialized_example["gains"]
        )
        return {
            "mixture_id": mixture_id,
            "sources": sources,
            "mixture": mixture,
            "sample_rate": SAMPLE_RATE,
            "speaker_ids": serialized_example["speaker_ids"],
        }

    def _mix(
        self, mixture_id: bytes, utterances: np.ndarray, gains: Float32[np.ndarray, " source"]
    ) -> tuple[Float32[np.ndarray, "source sample"], Float32[np.ndarray, " sample"]]:
        """The sources of a mixture and their sum.

        Raises:
          UserError: if the record is damaged.
        """
        name = f"an utterance of mixture {mixture_id.decode()}"
        audio = [read_flac(io.BytesIO(flac), name) for flac in utterances]
        return mix(audio, gains.tolist(), self._mode)


def _refuse(decoders: Any) -> None:
    """Sees that none of TFDS's own decoders is asked for; they know nothing of `RECORD`."""
    if decoders:
        raise ValueError(f"libri2mix is read without decoders, not with {decoders!r}.")


@dataclasses.dataclass(eq=False)
class Libri2mixConfig(tfds.core.BuilderConfig):
    """How mixtures are cut, and what to train on.

    Attributes:
      mode: ``min`` cuts to the shorter source, ``max`` pads to the longer one.
      train: the split of `SPLITS` for training.
    """

    mode: str = "min"
    train: str = "train-360"


def _config(mode: str, train: str) -> Libri2mixConfig:
    """The config of a mode and a split for training, such as ``min_360``."""
    cut = {"min": "cut to the shorter source", "max": "padded with zeros to the longer source"}
    return Libri2mixConfig(
        name=f"{mode}_{train.removeprefix('train-')}",
        description=f"Mixtures {cut[mode]}; those for training are of {SPLITS[train]}.",
        mode=mode,
        train=train,
    )


class Files(NamedTuple):
    """What the records of a split are made of.

    Attributes:
      rows: its metadata.
      utterances: two files for each row, in order.
    """

    rows: list[Row]
    utterances: list[Path]


class Libri2mix(tfds.core.GeneratorBasedBuilder):
    """TFDS's builder of Libri2Mix, without noise, at 16 kHz."""

    # TFDS looks beside it for checksums.tsv. To find it out, TFDS 4.9.10 would need a package that
    # it does not require (importlib_resources).
    code_path = tfds.core.Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (TFDS's own attributes)
    BUILDER_CONFIGS = [  # noqa: RUF012
        _config(mode, train) for mode in ("min", "max") for train in ("train-100", "train-360")
    ]
    # As Asteroid and torchaudio have it. The AudioSlots paper takes max_360.
    DEFAULT_BUILDER_CONFIG_NAME = "min_360"
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
    Not needed, since everything can be downloaded. Files that are already there are used if the
    folder holds LibriSpeech/ (with {SPLITS["test"]}/ and so on) and {METADATA}/ (with
    {metadata_path(Path(), "test").name} and so on, from https://github.com/JorisCos/LibriMix).
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "Mixtures of two speakers reading, made of LibriSpeech by LibriMix's official "
                "metadata. No noise is added. Mixtures are made when they are read."
            ),
            features=MixtureFeatures(mode=self.builder_config.mode),
            supervised_keys=("mixture", "sources"),
            homepage="https://github.com/JorisCos/LibriMix",
            citation="""\
                @misc{cosentino2020librimix,
                  title={LibriMix: An Open-Source Dataset for Generalizable Speech Separation},
                  author={Joris Cosentino and Manuel Pariente and Samuele Cornell and
                    Antoine Deleforge and Emmanuel Vincent},
                  year={2020},
                  eprint={2005.11262},
                  archivePrefix={arXiv},
                }""",
            license="CC BY 4.0, as LibriSpeech",
        )

    def _download_and_prepare(
        self, dl_manager: Any, download_config: tfds.download.DownloadConfig
    ) -> None:
        # A mistyped folder would otherwise be ignored, and up to 24 GB downloaded. Archives are
        # welcome too: TFDS takes those that lie in the folder and have the right checksum.
        if download_config.manual_dir is not None:
            folder = Path(download_config.manual_dir).expanduser()
            names = [f"{SPLITS[split]}.tar.gz" for split in self._splits().values()]
            if not any((folder / name).exists() for name in [str(METADATA), *names]):
                raise UserError(
                    f"manual_dir {folder} has no {METADATA}/; put LibriSpeech/ and {METADATA}/ "
                    "there, or leave out manual_dir to download them."
                )
        super()._download_and_prepare(dl_manager, download_config)

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        try:
            folder = Path(dl_manager.manual_dir)
        except AssertionError:  # TFDS's word for a folder that is missing or empty
            folder = None
        splits = self._splits()
        if folder is not None and (folder / METADATA).exists():
            files = files_by_hand(folder, splits.values())
        else:
            files = download(dl_manager, splits.values())
        return {
            name: self._generate_examples(*files[split])
            for name, split in splits.items()
            if split in files
        }

    def _generate_examples(
        self, rows: Sequence[Row], utterances: Sequence[Path]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The records of a split.

        Raises:
          UserError: if an utterance is unreadable, cut off, or not of one channel at 16 kHz.
        """
        for number, row in enumerate(rows):
            paths = utterances[SOURCES * number : SOURCES * (number + 1)]
            flacs = [path.read_bytes() for path in paths]
            # Decoding takes a millisecond, and finds damage here rather than in a training.
            for flac, path in zip(flacs, paths, strict=True):
                read_flac(io.BytesIO(flac), str(path))
            yield (
                number,
                {
                    "mixture_id": row.mixture_id,
                    "utterances": flacs,
                    "gains": row.gains,
                    "speaker_ids": row.speaker_ids,
                },
            )

    def _splits(self) -> dict[str, str]:
        """TFDS's names of the splits, and those in `SPLITS`."""
        return {
            tfds.Split.TRAIN: self.builder_config.train,
            tfds.Split.VALIDATION: "dev",
            tfds.Split.TEST: "test",
        }


def files_by_hand(folder: Path, splits: Iterable[str]) -> dict[str, Files]:
    """The splits whose metadata a folder has.

    Args:
      folder: holds ``LibriSpeech/`` and ``metadata/Libri2Mix/``.
      splits: names in `SPLITS`.

    Raises:
      UserError: if it has the metadata of none of them, or lacks utterances.
    """
    paths = {split: metadata_path(folder, split) for split in splits}
    files = {
        split: _files(split, read_metadata(path), folder / "LibriSpeech")
        for split, path in paths.items()
        if path.exists()
    }
    if not files:
        names = ", ".join(path.name for path in paths.values())
        raise UserError(
            f"{folder / METADATA} has none of {names}; put LibriMix's metadata there, or leave out "
            "manual_dir to download it."
        )
    for split in paths.keys() - files.keys():
        logging.warning("Libri2Mix is built without %s: there is no %s.", split, paths[split])
    return files


def download(dl_manager: Any, splits: Iterable[str]) -> dict[str, Files]:
    """The splits, downloaded.

    Args:
      dl_manager: a `tfds.download.DownloadManager`.
      splits: names in `SPLITS`.

    Raises:
      UserError: if the metadata is not the official one, or the archives lack utterances.
    """
    urls = {split: f"{METADATA_URL}/{metadata_path(Path(), split).name}" for split in splits}
    # The metadata first: what is wrong with it shows before the archives have come.
    rows = {}
    for split, path in dl_manager.download(urls).items():
        rows[split] = read_metadata(Path(path))
        if len(rows[split]) != ROWS[split]:
            raise UserError(
                f"{path}, from {urls[split]}, has {len(rows[split])} rows instead of "
                f"{ROWS[split]}; delete it, so that it is downloaded again."
            )
    archives = {split: f"{LIBRISPEECH_URL}/{SPLITS[split]}.tar.gz" for split in rows}
    folders = dl_manager.download_and_extract(archives)
    return {
        split: _files(split, rows[split], Path(folder) / "LibriSpeech")
        for split, folder in folders.items()
    }


def _files(split: str, rows: list[Row], folder: Path) -> Files:
    """The files of a split.

    Args:
      split: its name in `SPLITS`.
      rows: its metadata.
      folder: LibriSpeech.

    Raises:
      UserError: if one is missing.
    """
    names = [name for row in rows for name in row.utterances]
    utterances = FlacFiles(folder, names)
    if not utterances.present.all():
        raise UserError(f"{lacking(folder, split, names, utterances)}.")
    return Files(rows, utterances.paths)
