"""LibriSpeech's utterances by name, wherever they lie: in files of their own, or in a store."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float32, Int

from audioslots_jax.data.store import Store, is_store, open_store
from audioslots_jax.errors import UserError

LIBRISPEECH = "LibriSpeech"
SAMPLE_RATE = 16000  # in Hz


class FlacFiles:
    """Utterances in the files ``folder/name``, read like those of a store; see `store.Packed`."""

    def __init__(self, folder: Path, names: Sequence[str]):
        self.paths = [folder / name for name in names]
        self.present = np.array([path.exists() for path in self.paths], bool)

    def whole(self, index: int) -> Float32[np.ndarray, " sample"]:
        """Returns an utterance, full scale at 1."""
        return read_flac(self.paths[index])

    def read(
        self,
        indices: Int[np.ndarray, " crop"],
        starts: Int[np.ndarray, " crop"],
        gains: Float32[np.ndarray, " crop"],
        out: Float32[np.ndarray, "crop sample"],
    ) -> None:
        """Fills ``out`` with crops of utterances; see `store.Packed`."""
        for index, start, gain, crop in zip(indices, starts, gains, out, strict=True):
            audio = read_flac(self.paths[index], int(start), len(crop))
            np.multiply(audio, gain, out=crop[: len(audio)])
            crop[len(audio) :] = 0


class Folder(NamedTuple):
    """A folder that holds ``LibriSpeech/``, asked like a `Store`."""

    path: Path

    def named(self, names: Sequence[str]) -> FlacFiles:
        """Returns the utterances of these names; those that are missing are not `present`."""
        return FlacFiles(self.path / LIBRISPEECH, names)


Root = Folder | Store


def open_root(root: str | Path) -> Root:
    """Returns a store, opened, or any other folder; raises a `UserError` if it is damaged."""
    path = Path(root).expanduser()
    return open_store(path, SAMPLE_RATE) if is_store(path) else Folder(path)


def read_flac(
    flac: Path | io.BytesIO, start: int = 0, samples: int = sys.maxsize
) -> Float32[np.ndarray, " sample"]:
    """Returns an utterance, full scale at 1, from ``start`` on, of up to ``samples`` samples.

    Raises:
      UserError: if it is unreadable, cut off, or not of one channel at 16 kHz.
    """
    try:
        with soundfile.SoundFile(flac) as file:
            if (file.samplerate, file.channels) != (SAMPLE_RATE, 1):
                raise UserError(
                    f"{flac} has {file.channels} channel(s) at {file.samplerate} Hz instead of "
                    f"one at {SAMPLE_RATE} Hz; fetch LibriSpeech's own file."
                )
            expected = min(file.frames - file.seek(min(start, file.frames)), samples)
            audio = file.read(expected, dtype="float32")
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{flac} cannot be read ({error}); fetch it again.") from None
    if len(audio) < expected:
        raise UserError(f"{flac} is cut off; fetch it again.")
    return audio
