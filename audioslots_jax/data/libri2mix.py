"""Libri2Mix and Libri3Mix (Cosentino et al. 2020) from official metadata and LibriSpeech alone.

A mixture is ``source_1 * source_1_gain + source_2 * source_2_gain``, which needs no disk.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, NamedTuple, overload

import numpy as np
from jaxtyping import Bool, Float32, Int

from audioslots_jax.data.librispeech import SAMPLE_RATE, FlacFiles, Root, open_root
from audioslots_jax.data.store import Packed
from audioslots_jax.data.wham import read_noise
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
    """A row of the metadata: the utterances under ``LibriSpeech/``, and their factors.

    The noise is that of the noisy mixture, under the folder of WHAM's noise.
    """

    mixture_id: str
    utterances: tuple[str, ...]
    gains: tuple[float, ...]
    noise: str = ""
    noise_gain: float = 0.0

    @property
    def speaker_ids(self) -> tuple[int, ...]:
        """Returns LibriSpeech's numbers of the speakers."""
        return tuple(int(PurePosixPath(path).parts[1]) for path in self.utterances)


class Mixture(NamedTuple):
    """A whole mixture; its sources are at the level they are mixed with, and full scale is 1."""

    mixture_id: str
    sources: Float32[np.ndarray, "source sample"]
    mixture: Float32[np.ndarray, " sample"]
    sample_rate: int
    speaker_ids: tuple[int, ...]


class Libri2Mix(Sequence[Mixture]):
    """The mixtures of a split, in the order of the official metadata, made as they are asked for.

    A slice is a `Libri2Mix` of the rows it names and reads nothing.

        mixtures = Libri2Mix("~/data", "test", mode="max", seconds=10.0)  # the AudioSlots paper's
        mixtures[0].sources.shape  # (2, 160000)
    """

    sources: ClassVar[int] = SOURCES

    def __init__(
        self,
        root: str | Path | Root,
        split: str,
        mode: str = "min",
        *,
        seconds: float | None = None,
        allow_missing: bool = False,
        noise: str | Path | None = None,
    ):
        """Reads the metadata, and sees that the utterances are there.

        Args:
          root: holds ``LibriSpeech/`` and the metadata, or is a store made of that.
          split: a name in `SPLITS`.
          mode: ``min`` cuts to the shorter source, ``max`` pads to the longer one.
          seconds: then cut or pad to this length; the paper has 10 s in mode ``max``.
          allow_missing: leave out rows whose utterances are missing, which is a `UserError` else.
          noise: folder of WHAM's noise, with ``tr/``, ``cv/`` and ``tt/``; it is added to the
            mixtures then, as in LibriMix's ``mix_both``.
        """
        if split not in SPLITS or mode not in MODES:
            raise ValueError(
                f"Libri2Mix has splits {', '.join(SPLITS)} and modes {', '.join(MODES)}, not "
                f"{split!r} and {mode!r}."
            )
        if seconds is not None and not 0 < seconds < math.inf:
            raise ValueError(f"seconds is {seconds}; it must be above 0 and finite.")
        opened = root if isinstance(root, Root) else open_root(root)
        self._rows = read_metadata(metadata_path(opened.path, split, self.sources), self.sources)
        self._utterances, complete = find_utterances(
            opened, split, self._rows, allow_missing, self.sources
        )
        self._gains = np.array([row.gains for row in self._rows]).astype(np.float32)
        self._mode, self._seconds = mode, seconds
        self._noise = None if noise is None else Path(noise).expanduser()
        self._numbers = np.flatnonzero(complete)

    @property
    def rows(self) -> list[Row]:
        """Returns the metadata of the mixtures."""
        return [self._rows[number] for number in self._numbers]

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Mixture: ...
    @overload
    def __getitem__(self, index: slice) -> "Libri2Mix": ...
    def __getitem__(self, index: int | slice) -> "Mixture | Libri2Mix":
        """Returns a mixture, or a slice of them; a `UserError` names a source that is damaged."""
        if isinstance(index, slice):
            part = object.__new__(type(self))
            part.__dict__.update(self.__dict__, _numbers=self._numbers[index])
            return part
        number = int(self._numbers[index])
        row = self._rows[number]
        count = self.sources
        audio = [self._utterances.whole(count * number + i) for i in range(count)]
        gains = list(row.gains)
        if self._noise is not None:
            # As long as the longest source, so that it shortens no mixture.
            audio.append(read_noise(self._noise / row.noise, max(map(len, audio))))
            gains.append(row.noise_gain)
        parts, mixture = mix(audio, gains, self._mode, self._seconds)
        return Mixture(row.mixture_id, parts[:count], mixture, SAMPLE_RATE, row.speaker_ids)

    def read(
        self,
        indices: Int[np.ndarray, " crop"],
        starts: Int[np.ndarray, " crop"],
        out: Float32[np.ndarray, "crop source sample"],
    ) -> None:
        """Fills ``out`` with crops of mixtures' sources from ``starts`` on, then with zeros."""
        numbers = self._numbers[indices]
        utterances = self.sources * numbers[:, None] + np.arange(self.sources)
        self._utterances.read(
            utterances.reshape(-1),
            np.repeat(starts, self.sources),
            self._gains[numbers].reshape(-1),
            out.reshape(-1, out.shape[2]),
        )


class Libri3Mix(Libri2Mix):
    """The same of three speakers."""

    sources = 3


def mix(
    audio: Sequence[Float32[np.ndarray, " _"]],
    gains: Sequence[float],
    mode: str,
    seconds: float | None = None,
) -> tuple[Float32[np.ndarray, "source sample"], Float32[np.ndarray, " sample"]]:
    """Returns utterances times their gains, cut or padded as for `Libri2Mix`, and their sum."""
    length = (min if mode == "min" else max)(map(len, audio))
    whole = length if seconds is None else round(seconds * SAMPLE_RATE)
    sources = np.zeros((len(audio), whole), np.float32)
    for source, samples, gain in zip(sources, audio, gains, strict=True):
        kept = samples[: min(length, whole)]
        source[: len(kept)] = np.float32(gain) * kept
    return sources, sources.sum(axis=0)


def find_utterances(
    root: Root,
    split: str,
    rows: Sequence[Row],
    allow_missing: bool = False,
    sources: int = SOURCES,
) -> tuple[FlacFiles | Packed, Bool[np.ndarray, " row"]]:
    """Returns the utterances of rows, one for each source, and which rows have all.

    Raises:
      UserError: if some are missing; with ``allow_missing``, if no row is complete.
    """
    names = [name for row in rows for name in row.utterances]
    utterances = root.named(names)
    complete = np.all(utterances.present.reshape(-1, sources), axis=1)
    if complete.all() or (allow_missing and complete.any()):
        return utterances, complete
    missing = sorted({names[int(i)] for i in np.flatnonzero(~utterances.present)})
    raise UserError(
        f"{root.path} lacks {len(missing)} of the utterances that Libri{sources}Mix {split} is "
        f"made of ({', '.join(missing[:3])}{', ...' if missing[3:] else ''}); put LibriSpeech's "
        f"{SPLITS[split]} there, or train on the {complete.sum()} mixtures of {len(rows)} that are "
        "complete: allow_missing=True, on the command line --config.data.allow_missing=True."
    )


def metadata_path(root: Path, split: str, sources: int = SOURCES) -> Path:
    """Returns where a folder or a store has the metadata of a split."""
    folder = METADATA.parent / f"Libri{sources}Mix"
    return root / folder / f"libri{sources}mix_{SPLITS[split]}.csv"


def read_metadata(path: Path, sources: int = SOURCES) -> list[Row]:
    """Returns the rows of an official file; a `UserError` names the line that cannot be."""
    problem = ""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [_row(line, sources) for line in reader]
            problem = "" if rows else " has no rows"
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no CSV"
        raise UserError(
            f"{path} cannot be read ({reason}); Libri{sources}Mix needs a folder that holds "
            f"LibriSpeech/ and {path.parent.parent.name}/{path.parent.name}/, or a store made of "
            "one by `audioslots prepare`."
        ) from None
    except KeyError as error:
        problem = f" has no column {error}"
    except (ValueError, TypeError, IndexError):
        problem = (
            f", line {reader.line_num}: a path or gain cannot be, or one speaker is there twice"
        )
    if problem:
        raise UserError(f"{path}{problem}; fetch the official metadata again.")
    return rows


def _row(line: dict[str, str], sources: int) -> Row:
    names = [f"source_{number}" for number in range(1, sources + 1)]
    row = Row(
        line["mixture_ID"],
        tuple(line[f"{name}_path"] for name in names),
        tuple(float(line[f"{name}_gain"]) for name in names),
        line.get("noise_path") or "",
        float(line.get("noise_gain") or 0),
    )
    speakers = set(row.speaker_ids)
    if len(speakers) < sources or not all(0 < gain < math.inf for gain in row.gains):
        raise ValueError
    return row
