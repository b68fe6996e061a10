"""Single utterances by name, wherever they lie: in LibriSpeech's own files, or in a store."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import soundfile
from jaxtyping import Bool, Float32, Int

from audioslots_jax.data import store
from audioslots_jax.errors import UserError

LIBRISPEECH = "LibriSpeech"
SAMPLE_RATE = 16000  # in Hz


@runtime_checkable
class Utterances(Protocol):
    """A list of named utterances, of one channel and one sampling rate.

    Attributes:
      present: which of them there are.
    """

    present: Bool[np.ndarray, " utterance"]

    def whole(self, index: int) -> Float32[np.ndarray, " sample"]:
        """An utterance, full scale at 1."""

    def read(
        self,
        indices: Int[np.ndarray, " crop"],
        starts: Int[np.ndarray, " crop"],
        gains: Float32[np.ndarray, " crop"],
        out: Float32[np.ndarray, "crop sample"],
    ) -> None:
        """Fills ``out`` with crops of utterances, each times its gain; zeros where one has ended.

        Args:
          indices: the utterances.
          starts: the first sample of each crop.
          gains: a factor for each.
          out: the crops.
        """


class BadUtteranceError(UserError):
    """An utterance cannot be read; ``index`` is its number in the list."""

    def __init__(self, index: int, message: str):
        super().__init__(message)
        self.index = index


def open_root(root: str | Path) -> Path | store.Store:
    """A store, opened, or any other folder as it is.

    Raises:
      UserError: if the store is unfinished, damaged, or not at 16 kHz.
    """
    path = Path(root).expanduser()
    return store.open_store(path, SAMPLE_RATE) if store.is_store(path) else path


def find_utterances(root: Path | store.Store, names: Sequence[str]) -> Utterances:
    """The named utterances of a store, or of a folder that holds ``LibriSpeech/``.

    Args:
      root: the store or the folder.
      names: paths under ``LibriSpeech/``.
    """
    return (
        root.named(names) if isinstance(root, store.Store) else FlacFiles(root / LIBRISPEECH, names)
    )


class FlacFiles:
    """Utterances in files of their own. See `Utterances`."""

    def __init__(self, folder: Path, names: Sequence[str]):
        """The files ``folder/name``, which may be missing."""
        self.paths = [folder / name for name in names]
        self.present = np.array([path.exists() for path in self.paths], bool)

    def whole(self, index: int) -> Float32[np.ndarray, " sample"]:
        """See `Utterances`."""
        return self._read(index, 0, None)

    def read(
        self,
        indices: Int[np.ndarray, " crop"],
        starts: Int[np.ndarray, " crop"],
        gains: Float32[np.ndarray, " crop"],
        out: Float32[np.ndarray, "crop sample"],
    ) -> None:
        """See `Utterances`."""
        for index, start, gain, crop in zip(indices, starts, gains, out, strict=True):
            audio = self._read(int(index), int(start), len(crop))
            np.multiply(audio, gain, out=crop[: len(audio)])
            crop[len(audio) :] = 0

    def _read(self, index: int, start: int, samples: int | None) -> np.ndarray:
        path = self.paths[index]
        try:
            return read_flac(path, str(path), start, samples)
        except UserError as error:
            raise BadUtteranceError(index, str(error)) from None


def read_flac(
    flac: Path | io.BytesIO, name: str, start: int = 0, samples: int | None = None
) -> Float32[np.ndarray, " sample"]:
    """An utterance, full scale at 1, or a part of it.

    Args:
      flac: a file of LibriSpeech, on disk or in memory.
      name: what an error calls it.
      start: first sample.
      samples: at most so many, fewer where the file ends; all by default.

    Raises:
      UserError: if it is unreadable, cut off, or not of one channel at 16 kHz.
    """
    try:
        with soundfile.SoundFile(flac) as file:
            if (file.samplerate, file.channels) != (SAMPLE_RATE, 1):
                raise UserError(
                    f"{name} has {file.channels} channel(s) at {file.samplerate} Hz instead of "
                    f"one at {SAMPLE_RATE} Hz; fetch LibriSpeech's own file."
                )
            left = max(file.frames - start, 0)
            expected = left if samples is None else min(left, samples)
            file.seek(min(start, file.frames))
            audio = file.read(expected, dtype="float32")
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{name} cannot be read ({error}); fetch it again.") from None
    if len(audio) < expected:
        raise UserError(f"{name} is cut off; fetch it again.")
    return audio
