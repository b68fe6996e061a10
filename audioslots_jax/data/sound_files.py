"""Recordings of any format in blocks, and files that are written whole or not at all."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from audioslots_jax.errors import UserError

BLOCK = 1 << 16  # samples read at a time
LOUDEST = 1e6  # full scale is 1; what is far beyond it comes from flipped bits, or from integers
OGG_PAGE = 65_307  # bytes, at most
# What libsndfile notes where a header gives another size than the file has. Streams that were
# written without knowing theirs say 0 or the largest number, and are whole.
CUT_OFF = re.compile(r"^\s*data : (?!0 |4294967295 )\d+ \(should be \d+\)", re.MULTILINE)


class SoundFile:
    """A recording to read, block by block. Use it as a context.

    Its ``sample_rate`` is in Hz, its ``frames`` are the samples in each channel.
    """

    def __init__(self, path: Path):
        """Opens a file, or raises a `UserError` if it is missing, no recording, or empty."""
        self.path = path
        if not path.is_file():
            raise UserError(f"{path}: there is no such file.")
        try:
            self._file = soundfile.SoundFile(os.fsencode(path))
        except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: raw samples
            raise UserError(
                f"{path}: not a recording that can be read ({_reason(error)})."
            ) from None
        self.sample_rate, self.channels = self._file.samplerate, self._file.channels
        self.frames = self._file.frames
        problem = ""
        if not self.frames:
            problem = "the recording is empty"
        elif CUT_OFF.search(self._file.extra_info):
            problem = "cut off: its header promises more than there is"
        elif self._file.format == "OGG" and not _ogg_ends(path):
            problem = "cut off: its last page is not the end of a stream"
        if problem:
            self._file.close()
            raise UserError(f"{path}: {problem}.")

    def __enter__(self) -> "SoundFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def blocks(self) -> Iterator[Float32[np.ndarray, "channel sample"]]:
        """Yields all samples, in blocks of up to `BLOCK`.

        Raises:
          UserError: if it ends early, or has samples that `require_sound` refuses.
        """
        read = 0
        while read < self.frames:
            try:
                block = self._file.read(min(BLOCK, self.frames - read), "float32", always_2d=True)
            except (soundfile.SoundFileError, OSError) as error:
                raise UserError(
                    f"{self.path}: damaged near {self._seconds(read)} ({_reason(error)})."
                ) from None
            if not len(block):
                raise UserError(
                    f"{self.path}: cut off after {self._seconds(read)} of "
                    f"{self._seconds(self.frames)}."
                )
            samples = np.ascontiguousarray(block.T)
            require_sound(samples, read, self.sample_rate, str(self.path))
            read += len(block)
            yield samples

    def _seconds(self, frames: int) -> str:
        return f"{frames / self.sample_rate:.2f} s"

    def writers(self, paths: Sequence[Path], channels: int) -> "Writers":
        """Returns files of the same format and sampling rate as this one."""
        return Writers(paths, self._file, channels)


def require_sound(
    samples: Float32[np.ndarray, "channel sample"], before: int, sample_rate: int, name: str
) -> None:
    """Raises a `UserError` about the first sample that is not finite, or beyond `LOUDEST`.

    Full scale is 1. ``before`` are the samples that came before them in the recording of that
    ``name``; the rate is in Hz.
    """
    bad = np.any(~(np.abs(samples) <= LOUDEST), axis=0)
    if not bad.any():
        return
    first = int(np.argmax(bad))
    seconds = f"{(before + first) / sample_rate:.2f} s"
    if not np.isfinite(samples[:, first]).all():
        raise UserError(f"{name}: has samples that are not finite, near {seconds}.")
    raise UserError(
        f"{name}: has samples far beyond full scale, which is 1, near {seconds}; mend it, or "
        "scale it down if it holds integers."
    )


class Writers:
    """Files that appear under their names when all of them are whole. Use it as a context.

    Attributes:
      kept: which files are kept, by their numbers; they get the first of the names.
    """

    def __init__(self, paths: Sequence[Path], like: soundfile.SoundFile, channels: int):
        """Opens files of the format, encoding and sampling rate of ``like``.

        Raises:
          UserError: if one cannot be written.
        """
        self._paths, self._files = list(paths), list[soundfile.SoundFile]()
        self.kept = list(range(len(paths)))
        if like.format == "SD2":  # its header is in a second file
            raise UserError(f"{self._paths[0]} cannot be written as SD2; convert the input to WAV.")
        self._full_scale = np.inf if like.subtype in ("FLOAT", "DOUBLE") else 1.0
        form = {"format": like.format, "subtype": like.subtype, "endian": like.endian}
        for path in self._paths:
            with self._naming(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                unfinished = os.fsencode(_unfinished(path))
                file = soundfile.SoundFile(unfinished, "w", like.samplerate, channels, **form)
                self._files.append(file)

    def __enter__(self) -> "Writers":
        return self

    def write(self, block: Float32[np.ndarray, "file channel sample"]) -> None:
        """Appends a block to every file; integers and compressed sound end at full scale.

        Raises:
          UserError: if there is no space left.
        """
        # Some encoders of libsndfile read beyond their tables where samples are beyond full scale.
        block = block.clip(-self._full_scale, self._full_scale)
        for path, file, samples in zip(self._paths, self._files, block, strict=True):
            with self._naming(path):
                file.write(samples.T)

    def __exit__(self, failure: type[BaseException] | None, *error: object) -> None:
        if failure:
            return self._discard()
        for path, file in zip(self._paths, self._files, strict=True):
            with self._naming(path):
                file.close()
        for number, path in zip(self.kept, self._paths, strict=False):
            with self._naming(path):
                _unfinished(self._paths[number]).replace(path)
        for number in set(range(len(self._paths))) - set(self.kept):
            with self._naming(self._paths[number]):
                _unfinished(self._paths[number]).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _naming(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (soundfile.SoundFileError, OSError, RuntimeError) as error:
            self._discard()
            raise UserError(f"{path} cannot be written ({_reason(error)}).") from None

    def _discard(self) -> None:
        for file in self._files:
            with contextlib.suppress(soundfile.SoundFileError, OSError, RuntimeError):
                file.close()
        for path in self._paths:
            with contextlib.suppress(OSError):
                _unfinished(path).unlink()


def _ogg_ends(path: Path) -> bool:
    """Returns whether the last page of an Ogg file ends a stream (RFC 3533, section 6)."""
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - OGG_PAGE, 0))
        tail = file.read()
    start = tail.rfind(b"OggS")
    return start >= 0 and bool(tail[start + 5 : start + 6] and tail[start + 5] & 4)


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.unfinished")


def _reason(error: Exception) -> str:
    """Returns what went wrong, without the file's name, which is said anyway."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
