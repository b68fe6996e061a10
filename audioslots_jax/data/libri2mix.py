"""Libri2Mix (Cosentino et al. 2020) from its official metadata and LibriSpeech alone.

A mixture is ``source_1 * source_1_gain + source_2 * source_2_gain``, in "min" mode cut to the
shorter source, in "max" mode padded with zeros to the longer. The metadata and LibriSpeech thus say
what 136 to 472 GB of mixtures on disk would.
"""

import contextlib
import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, overload

import numpy as np
from jaxtyping import Float32, Int

from audioslots_jax.data.store import Store
from audioslots_jax.data.utterances import (
    SAMPLE_RATE,
    BadUtteranceError,
    Utterances,
    find_utterances,
    open_root,
)
from audioslots_jax.errors import UserError

SOURCES = 2
MODES = ("min", "max")
# Splits, and the subset of LibriSpeech that each is made of.
SPLITS = {
    "train-100": "train-clean-100",
    "train-360": "train-clean-360",
    "dev": "dev-clean",
    "test": "test-clean",
}
METADATA = PurePosixPath("metadata/Libri2Mix")


class Row(NamedTuple):
    """A row of the metadata.

    Attributes:
      mixture_id: its name.
      utterances: paths of the two sources under ``LibriSpeech/``.
      gains: factors of the two sources.
    """

    mixture_id: str
    utterances: tuple[str, str]
    gains: tuple[float, float]

    @property
    def speaker_ids(self) -> tuple[int, int]:
        """LibriSpeech's numbers of the two speakers."""
        first, second = (int(PurePosixPath(path).parts[1]) for path in self.utterances)
        return first, second


class Mixture(NamedTuple):
    """A whole mixture.

    Attributes:
      mixture_id: its name in the metadata.
      sources: waveforms at the level they are mixed with; full scale is 1.
      mixture: their sum.
      sample_rate: in Hz.
      speaker_ids: LibriSpeech's numbers of the two speakers.
    """

    mixture_id: str
    sources: Float32[np.ndarray, "source sample"]
    mixture: Float32[np.ndarray, " sample"]
    sample_rate: int
    speaker_ids: tuple[int, int]


class Libri2Mix(Sequence[Mixture]):
    """The mixtures of a split, in the order of the official metadata, made as they are asked for.

    A slice is a `Libri2Mix` of the rows it names and reads nothing.

        mixtures = Libri2Mix("~/data", "test", mode="max", seconds=10.0)  # the AudioSlots paper's
        mixtures[0].sources.shape  # (2, 160000)
    """

    def __init__(
        self,
        root: str | Path | Store,
        split: str,
        mode: str = "min",
        *,
        seconds: float | None = None,
        allow_missing: bool = False,
    ):
        """Reads the metadata, and sees that the utterances are there.

        Args:
          root: holds ``LibriSpeech/`` and ``metadata/Libri2Mix/``, or is a store that
            ``audioslots prepare`` made of such a folder; or an open store.
          split: a name in `SPLITS`.
          mode: ``min`` cuts to the shorter source, ``max`` pads to the longer one.
          seconds: then cut or pad to this length; the paper has 10 s in mode ``max``.
          allow_missing: leave out rows whose utterances are missing.

        Raises:
          UserError: for metadata that is missing or not the official one, missing utterances, an
            unfinished or damaged store.
          ValueError: for an unknown split or mode.
        """
        if split not in SPLITS or mode not in MODES:
            raise ValueError(
                f"Libri2Mix has splits {', '.join(SPLITS)} and modes {', '.join(MODES)}, not "
                f"{split!r} and {mode!r}."
            )
        if seconds is not None and not 0 < seconds < math.inf:
            raise ValueError(f"seconds is {seconds}; it must be above 0 and finite.")
        source = root if isinstance(root, Store) else open_root(root)
        folder = source.path if isinstance(source, Store) else source
        rows = read_metadata(metadata_path(folder, split))
        names = [name for row in rows for name in row.utterances]
        utterances = find_utterances(source, names)
        complete = utterances.present.reshape(-1, SOURCES).all(axis=1)
        if not complete.all() and not (allow_missing and complete.any()):
            raise UserError(
                f"{lacking(folder, split, names, utterances)}, or use the {complete.sum()} "
                f"mixtures of {len(rows)} that are complete: allow_missing=True, on the command "
                "line --config.data.allow_missing=True."
            )
        self._rows, self._utterances = rows, utterances
        self._gains = np.array([row.gains for row in rows]).astype(np.float32)
        self._mode, self._seconds = mode, seconds
        self._numbers = np.flatnonzero(complete)

    @property
    def rows(self) -> list[Row]:
        """The metadata of the mixtures."""
        return [self._rows[number] for number in self._numbers]

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Mixture: ...
    @overload
    def __getitem__(self, index: slice) -> "Libri2Mix": ...
    def __getitem__(self, index: int | slice) -> "Mixture | Libri2Mix":
        """A mixture, or a slice of them.

        Raises:
          UserError: if a source is unreadable, cut off, or not of one channel at 16 kHz.
        """
        if isinstance(index, slice):
            part = object.__new__(Libri2Mix)
            part.__dict__.update(self.__dict__, _numbers=self._numbers[index])
            return part
        number = int(self._numbers[index])
        row = self._rows[number]
        with self._naming():
            audio = [self._utterances.whole(SOURCES * number + i) for i in range(SOURCES)]
        sources, mixture = mix(audio, row.gains, self._mode, self._seconds)
        return Mixture(row.mixture_id, sources, mixture, SAMPLE_RATE, row.speaker_ids)

    def read(
        self,
        indices: Int[np.ndarray, " crop"],
        starts: Int[np.ndarray, " crop"],
        out: Float32[np.ndarray, "crop source sample"],
    ) -> None:
        """Fills ``out`` with crops of the sources of mixtures; zeros where a source has ended.

        Args:
          indices: the mixtures.
          starts: the first sample of each crop.
          out: the crops.

        Raises:
          UserError: as for a mixture.
        """
        numbers = self._numbers[indices]
        utterances = SOURCES * numbers[:, None] + np.arange(SOURCES)
        samples = out.shape[2]
        with self._naming():
            self._utterances.read(
                utterances.reshape(-1), np.repeat(starts, SOURCES),
                self._gains[numbers].reshape(-1), out.reshape(-1, samples),
            )  # fmt: skip

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Adds the row to what goes wrong with an utterance of it."""
        try:
            yield
        except BadUtteranceError as error:
            mixture_id = self._rows[error.index // SOURCES].mixture_id
            raise UserError(f"mixture {mixture_id}: {error}") from None


def mix(
    audio: Sequence[Float32[np.ndarray, " _"]],
    gains: Sequence[float],
    mode: str,
    seconds: float | None = None,
) -> tuple[Float32[np.ndarray, "source sample"], Float32[np.ndarray, " sample"]]:
    """The sources of a mixture at the level they are mixed with, and their sum.

    Args:
      audio: the utterances, each of its own length.
      gains: their factors.
      mode: ``min`` cuts to the shorter utterance, ``max`` pads to the longer one.
      seconds: then cut or pad to this length.
    """
    length = (min if mode == "min" else max)(map(len, audio))
    whole = length if seconds is None else round(seconds * SAMPLE_RATE)
    sources = np.zeros((len(audio), whole), np.float32)
    for source, samples, gain in zip(sources, audio, gains, strict=True):
        kept = samples[: min(length, whole)]
        source[: len(kept)] = np.float32(gain) * kept
    return sources, sources.sum(axis=0)


def lacking(folder: Path, split: str, names: Sequence[str], utterances: Utterances) -> str:
    """How many of the named utterances of a split are missing, which, and what to do, so far."""
    missing = sorted({names[int(i)] for i in np.flatnonzero(~utterances.present)})
    return (
        f"{folder} lacks {len(missing)} of the utterances that Libri2Mix {split} is made of "
        f"({', '.join(missing[:3])}{', ...' if missing[3:] else ''}); put LibriSpeech's "
        f"{SPLITS[split]} there"
    )


def metadata_path(root: Path, split: str) -> Path:
    """Where a folder or a store has the metadata of a split."""
    return root / METADATA / f"libri2mix_{SPLITS[split]}.csv"


def read_metadata(path: Path) -> list[Row]:
    """The rows of an official file such as ``libri2mix_train-clean-360.csv``.

    Raises:
      UserError: if it is missing, has no rows or other columns, or a row that cannot be.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lines = [(reader.line_num, line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no CSV"
        raise UserError(
            f"{path} cannot be read ({reason}); Libri2Mix needs a folder that holds LibriSpeech/ "
            f"and {METADATA}/, or a store made of one by `audioslots prepare`."
        ) from None
    if not lines:
        raise UserError(f"{path} has no rows; fetch the official metadata again.")
    rows = []
    for number, line in lines:
        try:
            row = Row(
                line["mixture_ID"],
                (line["source_1_path"], line["source_2_path"]),
                (float(line["source_1_gain"]), float(line["source_2_gain"])),
            )
            speakers = row.speaker_ids
            if not all(0 < gain < math.inf for gain in row.gains):
                raise ValueError
        except KeyError as error:
            raise UserError(
                f"{path} has no column {error}; fetch the official metadata again."
            ) from None
        except (ValueError, TypeError, IndexError):
            raise UserError(
                f"{path}, line {number}: a path or gain is not as in the official metadata; fetch "
                "it again."
            ) from None
        if len(set(speakers)) < SOURCES:
            raise UserError(
                f"{path}, line {number}: mixture {row.mixture_id} has one speaker twice; fetch the "
                "official metadata again."
            )
        rows.append(row)
    return rows
