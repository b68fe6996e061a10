"""Libri2Mix (Cosentino et al. 2020) as a TFDS data set; importing this module registers it.

The first load builds it, and so does the command line, which needs more than TFDS requires:

    pip install "audioslots_jax[tfds]"
    tfds build libri2mix --imports=audioslots_jax.data.tfds_libri2mix --config=max_360

Nothing is mixed on disk: a record holds the FLAC files of the two utterances as LibriSpeech has
them, and the two gains. `libri2mix.mix` makes the mixture when the record is read.

LibriSpeech comes from openslr.org, checked against ``checksums.tsv``, and the metadata from GitHub,
of which no checksum is recorded. With ``--manual_dir=FOLDER`` both come from a folder that holds
``LibriSpeech/`` and ``metadata/Libri2Mix/``; splits whose metadata it lacks are left out.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from audioslots_jax.data import libri2mix
from audioslots_jax.data.libri2mix import METADATA, SOURCES, Row
from audioslots_jax.data.librispeech import LIBRISPEECH, SAMPLE_RATE, Folder, read_flac
from audioslots_jax.errors import UserError

LIBRISPEECH_URL = "http://www.openslr.org/resources/12"
METADATA_URL = f"https://raw.githubusercontent.com/JorisCos/LibriMix/master/{METADATA}"
NAMES = {
    "mixture_id": tfds.features.Text(),
    "speaker_ids": tfds.features.Tensor(shape=(SOURCES,), dtype=np.int64),
}
RECORD = tfds.features.FeaturesDict(
    {
        "utterances": tfds.features.Tensor(shape=(SOURCES,), dtype=np.str_),
        "gains": tfds.features.Tensor(shape=(SOURCES,), dtype=np.float32),
        **NAMES,
    }
)
Example = dict[str, Any]


class MixtureFeatures(tfds.features.FeaturesDict):
    """A mixture in mode ``min`` or ``max``, made of a `RECORD` when that is read.

    TFDS decodes each feature from a field of its own; here two come from the same fields.
    """

    def __init__(self, *, mode: str):
        features = {
            "mixture": tfds.features.Audio(dtype=np.float32, sample_rate=SAMPLE_RATE),
            "sources": tfds.features.Tensor(shape=(SOURCES, None), dtype=np.float32),
            "sample_rate": tfds.features.Scalar(np.int64),
        }
        super().__init__(features | NAMES)
        self._mode = mode

    @classmethod
    def from_json_content(cls, value: dict[str, str]) -> "MixtureFeatures":
        """Returns the features that `to_json_content` describes."""
        return cls(**value)

    def to_json_content(self) -> dict[str, str]:
        """Returns what ``features.json`` says of them."""
        return {"mode": self._mode}

    def get_serialized_info(self) -> Example:
        """Returns shapes and types of the fields of a record."""
        return RECORD.get_serialized_info()

    def encode_example(self, example_dict: Example) -> Example:
        """Returns a record."""
        return RECORD.encode_example(example_dict)

    def decode_example(self, serialized_example: Example, *, decoders: Any = None) -> Example:
        """Returns the mixture of a record, for tf.data, which cannot read FLAC itself."""
        parts = [serialized_example["utterances"], serialized_example["gains"]]
        waveforms = tf.numpy_function(self._mix, parts, (tf.float32, tf.float32), stateful=False)
        for waveform, shape in zip(waveforms, [(SOURCES, None), (None,)], strict=True):
            waveform.set_shape(shape)
        return _example(serialized_example, *waveforms)

    def decode_example_np(self, serialized_example: Example, *, decoders: Any = None) -> Example:
        """Returns the mixture of a record, without TensorFlow."""
        waveforms = self._mix(serialized_example["utterances"], serialized_example["gains"])
        return _example(serialized_example, *waveforms)

    def _mix(self, utterances: np.ndarray, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        audio = [read_flac(io.BytesIO(flac)) for flac in utterances]
        return libri2mix.mix(audio, gains.tolist(), self._mode)


def _example(record: Example, sources: Any, mixture: Any) -> Example:
    waveforms = {"sources": sources, "mixture": mixture, "sample_rate": np.int64(SAMPLE_RATE)}
    return waveforms | {name: record[name] for name in NAMES}


class Libri2mix(tfds.core.GeneratorBasedBuilder):
    """TFDS's builder of Libri2Mix, without noise, at 16 kHz."""

    # TFDS looks beside it for checksums.tsv; to find it, it needs a package it does not require.
    code_path = tfds.core.Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012 (TFDS's own attribute)
        tfds.core.BuilderConfig(name=f"{mode}_{hours}")
        for mode in libri2mix.MODES
        for hours in (100, 360)
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "min_360"  # as Asteroid and torchaudio; the paper takes max_360

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Mixtures of two speakers reading, made of LibriSpeech, without noise.",
            features=MixtureFeatures(mode=self.builder_config.name.split("_")[0]),
            supervised_keys=("mixture", "sources"),
            homepage="https://github.com/JorisCos/LibriMix",
            citation="Cosentino et al., LibriMix, arXiv:2005.11262, 2020",
        )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        # A mistyped folder does not show in the manager, which would download 24 GB instead.
        self._by_hand = download_config.manual_dir
        super()._download_and_prepare(dl_manager, download_config)

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Example]]]:
        train = f"train-{self.builder_config.name.split('_')[1]}"
        splits = {"train": train, "validation": "dev", "test": "test"}
        folder = Path(self._by_hand or "").expanduser()
        paths = {name: libri2mix.metadata_path(folder, split) for name, split in splits.items()}
        subsets = {name: libri2mix.SPLITS[split] for name, split in splits.items()}
        urls = {name: f"{LIBRISPEECH_URL}/{subset}.tar.gz" for name, subset in subsets.items()}
        if self._by_hand:
            paths = {name: path for name, path in paths.items() if path.exists()}
        else:
            paths = dl_manager.download({n: f"{METADATA_URL}/{p.name}" for n, p in paths.items()})
        if not paths:
            raise UserError(
                f"manual_dir: {folder} has no {METADATA}/ with metadata of {train}, dev or test; "
                "put LibriSpeech/ and it there, or leave out manual_dir to download them."
            )
        # What is wrong with the metadata shows before the archives have come.
        rows = {name: libri2mix.read_metadata(Path(path)) for name, path in paths.items()}
        by_hand = dict.fromkeys(rows, folder)
        folders = by_hand if self._by_hand else dl_manager.download_and_extract(urls)
        # All splits are looked at before the first one is written.
        for name in rows:
            libri2mix.find_utterances(Folder(Path(folders[name])), splits[name], rows[name])
        return {name: self._generate_examples(rows[name], Path(folders[name])) for name in rows}

    def _generate_examples(self, rows: list[Row], folder: Path) -> Iterator[tuple[int, Example]]:
        """Yields the records of a split; a `UserError` names an utterance that is damaged."""
        for number, row in enumerate(rows):
            paths = [folder / LIBRISPEECH / name for name in row.utterances]
            for path in paths:
                read_flac(path)  # takes a millisecond, and finds damage before a training does
            record = {"mixture_id": row.mixture_id, "speaker_ids": row.speaker_ids}
            record |= {"utterances": [path.read_bytes() for path in paths], "gains": row.gains}
            yield number, record
