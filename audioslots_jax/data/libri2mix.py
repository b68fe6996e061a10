"""Libri2Mix (Cosentino et al. 2020) from its official metadata and LibriSpeech, mixed on the fly.

A mixture is ``source_1 * source_1_gain + source_2 * source_2_gain``. As in the AudioSlots paper,
mixtures are instances of 10 s: in "max" mode, so padded with zeros to the longer source, then cut
or padded to 10 s.
"""

import csv
import dataclasses
import warnings
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from audioslots_jax.data.mixtures import decibels, random_generator
from audioslots_jax.errors import UserError

SAMPLE_RATE = 16000
INSTANCE_SECONDS = 10.0
SOURCES = 2
ACTIVE_TRIES = 20
QUIETEST_DB = -50.0  # RMS of a crop that a score can be computed on


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the metadata: where the two sources lie, and their gains."""

    mixture_id: str
    paths: tuple[Path, Path]
    gains: tuple[float, float]


class Libri2Mix:
    """Random crops of the official mixtures; mixture and place are drawn uniformly."""

    sample_rate, sources = SAMPLE_RATE, SOURCES

    def __init__(self, rows: list[Row], *, samples: int, active: bool = False):
        """Args:
        rows: the mixtures, as `read_rows` gives them.
        samples: length of the crops, at most 10 s.
        active: draw crops again in which a source is silent; for scores.
        """
        self.rows, self.samples, self.active = rows, samples, active

    def example(self, seed: int, step: int, row: int) -> Float32[np.ndarray, "source sample"]:
        """See `Mixtures`; a mixture that cannot be read is replaced by the next one."""
        random = random_generator("example", seed, step, row)
        for _ in range(ACTIVE_TRIES if self.active else 1):
            drawn = int(random.integers(len(self.rows)))
            places = round(INSTANCE_SECONDS * SAMPLE_RATE) - self.samples + 1
            crop = self._read(drawn, int(random.integers(places)))
            if np.sqrt(np.mean(np.square(crop), axis=1)).min() > decibels(QUIETEST_DB):
                break
        return crop

    def _read(self, drawn: int, start: int) -> Float32[np.ndarray, "source sample"]:
        for turn in range(len(self.rows)):
            try:
                return read_sources(self.rows[(drawn + turn) % len(self.rows)], start, self.samples)
            except UserError as error:
                warnings.warn(f"{error} Another mixture takes its place.", stacklevel=2)
        raise UserError("none of the mixtures can be read any more; check the disk.")


def read_sources(row: Row, start: int, samples: int) -> Float32[np.ndarray, "source sample"]:
    """The sources of a mixture from sample ``start`` on, zero after their ends.

    Exactly gain x samples of the file, computed in float32.

    Raises:
      UserError: if a file is unreadable or cut off, or not of one channel at 16 kHz.
    """
    crop = np.zeros((SOURCES, samples), np.float32)
    for source, (path, gain) in enumerate(zip(row.paths, row.gains, strict=True)):
        try:
            audio = _read_crop(path, start, samples)
        except (soundfile.SoundFileError, OSError) as error:
            raise UserError(
                f"mixture {row.mixture_id}: {path} cannot be used ({error}); fetch it again."
            ) from None
        crop[source, : len(audio)] = np.float32(gain) * audio
    return crop


def _read_crop(path: Path, start: int, samples: int) -> Float32[np.ndarray, " sample"]:
    """At most ``samples`` samples from ``start`` on, fewer where the file ends."""
    with soundfile.SoundFile(path) as file:
        if (file.samplerate, file.channels) != (SAMPLE_RATE, 1):
            raise OSError(f"{file.channels} channel(s) at {file.samplerate} Hz")
        expected = min(max(file.frames - start, 0), samples)
        file.seek(min(start, file.frames))
        audio = file.read(expected, dtype="float32")
    if len(audio) < expected:
        raise OSError("cut off")
    return audio


def read_rows(root: Path, split: str) -> list[Row]:
    """The rows of ``root/metadata/Libri2Mix/libri2mix_<split>.csv``.

    Args:
      root: holds ``LibriSpeech/`` and ``metadata/Libri2Mix/``.
      split: ``train-clean-360``, ``train-clean-100``, ``dev-clean`` or ``test-clean``.

    Raises:
      UserError: if the file or columns of it are missing, or utterances it names are.
    """
    path = root / "metadata" / "Libri2Mix" / f"libri2mix_{split}.csv"
    try:
        with open(path, newline="") as file:
            table = list(csv.DictReader(file))
        rows = [
            Row(
                line["mixture_ID"],
                (_flac(root, line["source_1_path"]), _flac(root, line["source_2_path"])),
                (float(line["source_1_gain"]), float(line["source_2_gain"])),
            )
            for line in table
        ]
    except OSError as error:
        raise UserError(
            f"data.root: {path} cannot be read ({error.strerror}); data.root must hold "
            "LibriSpeech/ and metadata/Libri2Mix/."
        ) from None
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is not the official metadata: {error} is missing or no number."
        ) from None
    missing = sorted({str(p) for row in rows for p in row.paths if not p.exists()})
    if missing or not rows:
        raise UserError(
            f"{path} has {len(rows)} mixtures, of whose utterances {len(missing)} are missing "
            f"({', '.join(missing[:3])}); put LibriSpeech's {split} there."
        )
    return rows


def _flac(root: Path, path: str) -> Path:
    return root / "LibriSpeech" / path
