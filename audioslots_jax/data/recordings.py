"""Recordings on disk: which files of a folder can be used, and crops of them."""

import abc
import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from audioslots_jax.data.mixtures import decibels
from audioslots_jax.data.parallel import ordered_map
from audioslots_jax.data.store import Packed, is_store, open_store, read_index
from audioslots_jax.errors import UserError
from audioslots_jax.progress import progress

SUFFIXES = frozenset(
    ".aif .aifc .aiff .au .avr .caf .flac .htk .iff .mp3 .nist .oga .ogg .opus .paf .pvf .rf64 "
    ".sds .sf .snd .sph .svx .voc .w64 .wav .wve .xi".split()
)
# A folder that brings its own division into speakers to train on and others to score.
TRAIN, HELD_OUT = "train", "dev"
SILENT_DB = -80.0
NAMED = 50  # files of a kind that a summary names
RESAMPLING_MARGIN = 0.02  # seconds of context on each side of a crop that is resampled


@dataclasses.dataclass(frozen=True)
class Recording(abc.ABC):
    """Something usable: its length in frames, sampling rate in Hz and RMS re full scale."""

    path: Path
    frames: int
    sample_rate: int
    rms: float

    @abc.abstractmethod
    def read(self, start: int, frames: int) -> Float32[np.ndarray, " sample"]:
        """A piece of it, mixed down to one channel.

        Raises:
          OSError, soundfile.SoundFileError: if the piece cannot be read any more.
        """


class RecordedFile(Recording):
    """A usable file. See `Recording`."""

    def read(self, start: int, frames: int) -> Float32[np.ndarray, " sample"]:
        """See `Recording`."""
        audio, _ = soundfile.read(
            os.fsencode(self.path), start=start, frames=frames, dtype="float32", always_2d=True
        )
        if len(audio) < frames:
            raise OSError(f"{self.path} ends before frame {start + frames}")
        return audio.mean(axis=1)


@dataclasses.dataclass(frozen=True)
class StoredRecording(Recording):
    """An utterance of a store. See `Recording`.

    Attributes:
      path: the store's folder and the utterance's name in it, for messages.
      utterances, index: where it is read.
    """

    utterances: Packed
    index: int

    def read(self, start: int, frames: int) -> Float32[np.ndarray, " sample"]:
        """See `Recording`."""
        audio = np.empty((1, frames), np.float32)
        gains = np.ones(1, np.float32)
        self.utterances.read(np.array([self.index]), np.array([start]), gains, audio)
        return audio[0]


class Unusable(Exception):  # noqa: N818 (a verdict on a file; nobody made an error)
    """Why a file cannot be used, in a few words."""


def read_crop(
    recording: Recording, place: float, samples: int, sample_rate: int
) -> Float32[np.ndarray, " sample"]:
    """``samples`` samples at ``sample_rate`` Hz from a recording, mixed down to one channel.

    Args:
      recording: where to read.
      place: position of the crop in [0, 1): 0 is the first possible, 1 would be past the last.
      samples: length of the crop; the recording is at least as long.
      sample_rate: of the crop; other rates are resampled.
    """
    ratio = recording.sample_rate / sample_rate
    length = int(np.ceil(samples * ratio))
    start = int(place * (recording.frames - length + 1))
    margin = 0 if ratio == 1 else int(RESAMPLING_MARGIN * recording.sample_rate)
    begin = max(start - margin, 0)
    end = min(start + length + margin, recording.frames)
    mono = recording.read(begin, end - begin)
    if ratio != 1:
        mono = soxr.resample(mono, recording.sample_rate, sample_rate)
    offset = round((start - begin) / ratio)
    crop = mono[offset : offset + samples]
    return np.pad(crop, (0, samples - len(crop)))


def scan(
    root: Path, *, field: str, sample_rate: int, samples: int
) -> tuple[dict[str, list[Recording]], str]:
    """Reads every recording under ``root`` once, and sorts out what cannot be trained on.

    Shows a progress bar. In a store all that is done already.

    Args:
      root: a folder with one folder per speaker; or a store, or a subset ``STORE/<subset>``.
      field: the config's field that named it, for messages.
      sample_rate: the model's, in Hz.
      samples: length of a crop at that rate; shorter recordings are left out.

    Returns:
      The usable recordings by speaker, and a summary for the user that names the files left out.

    Raises:
      UserError: if there is no such folder, nothing usable in it, or the store is damaged.
    """
    seconds = samples / sample_rate
    if is_store(root):
        recordings, summary = _open_recordings(root, "", seconds)
    elif is_store(root.parent) and root.name in read_index(root.parent)["subsets"]:
        recordings, summary = _open_recordings(root.parent, root.name, seconds)
    elif not root.is_dir():
        raise UserError(f"{field}: there is no folder {root}; give one with a folder per speaker.")
    else:
        recordings, summary = _read_recordings(root, field, sample_rate, seconds)
    if not recordings:
        raise UserError(f"{field}: nothing usable in {summary}")
    return recordings, summary


def _read_recordings(
    root: Path, field: str, sample_rate: int, seconds: float
) -> tuple[dict[str, list[Recording]], str]:
    files = list_speakers(root)
    if not files:
        raise UserError(
            f"{field}: no recordings in {root}/<speaker>/; expected a folder per speaker with "
            "files such as .wav, .flac or .ogg in it."
        )
    examine = functools.partial(_examine, seconds=seconds)
    workers = os.cpu_count() or 1
    examined = ordered_map(examine, (path for _, path in files), workers=workers, ahead=64)
    recordings: dict[str, list[Recording]] = {}
    problems: dict[str, list[str]] = {}
    resampled = []
    with contextlib.closing(examined):
        bar = progress(examined, desc=f"reading {root}", total=len(files), unit="file", leave=False)
        for (speaker, path), found in zip(files, bar, strict=True):
            if isinstance(found, Unusable):
                problems.setdefault(str(found), []).append(readable(path.relative_to(root)))
                continue
            recordings.setdefault(speaker, []).append(found)
            if found.sample_rate != sample_rate:
                resampled.append(path)
    total = sum(map(len, recordings.values()))
    summary = f"{root}: {total} recordings of {len(recordings)} speakers"
    summary += left_out(problems, len(files))
    if resampled:
        summary += f"; {len(resampled)} resampled to {sample_rate} Hz"
    return recordings, summary + "."


def _open_recordings(
    path: Path, subset: str, seconds: float
) -> tuple[dict[str, list[Recording]], str]:
    store = open_store(path)
    chosen = np.char.startswith(store.table["name"], f"{subset}/".encode() if subset else b"")
    table, utterances = store.table[chosen], store.select(np.flatnonzero(chosen))
    recordings: dict[str, list[Recording]] = {}
    problems: dict[str, list[str]] = {}
    for index, row in enumerate(table):
        name, speaker = os.fsdecode(row["name"]), os.fsdecode(row["speaker"])
        frames, rms = int(row["frames"]), float(row["rms"])
        if frames < np.ceil(seconds * store.sample_rate):
            problems.setdefault(f"shorter than {seconds:g} s", []).append(name)
            continue
        stored = StoredRecording(path / name, frames, store.sample_rate, rms, utterances, index)
        recordings.setdefault(speaker, []).append(stored)
    total = sum(map(len, recordings.values()))
    summary = f"{path / subset}: {total} recordings of {len(recordings)} speakers"
    return recordings, f"{summary}{left_out(problems, len(table))}."


def list_speakers(root: Path) -> list[tuple[str, Path]]:
    """The files in ``root/<speaker>/`` that are recordings by name, each with its speaker."""
    return [
        (speaker.name, path)
        for speaker in sorted(root.iterdir())
        if speaker.is_dir()
        for path in sorted(_files(speaker, frozenset()))
        if path.suffix.lower() in SUFFIXES
    ]


def _files(folder: Path, inside: frozenset[str]) -> Iterator[Path]:
    """The files below a folder; links to folders are followed, but not round in a circle."""
    inside |= {os.path.realpath(folder)}
    for path in folder.iterdir():
        if path.is_file():
            yield path
        elif path.is_dir() and os.path.realpath(path) not in inside:
            yield from _files(path, inside)


def is_divided(root: Path) -> bool:
    """Whether a folder has its speakers in two subfolders, to train on and to score."""
    return (root / TRAIN).is_dir() and (root / HELD_OUT).is_dir()


def mono_blocks(file: soundfile.SoundFile) -> Iterator[Float32[np.ndarray, " sample"]]:
    """A whole file in blocks, mixed down to one channel.

    Raises:
      Unusable: if the file ends before its header says, or has samples that are not finite.
    """
    frames = 0
    for block in file.blocks(1 << 16, dtype="float32", always_2d=True):
        mono = block[:, 0] if file.channels == 1 else block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise Unusable("with samples that are not finite")
        frames += len(mono)
        yield mono
    if frames < file.frames:
        raise Unusable("truncated")


def readable(name: str | Path) -> str:
    """A file's name, which need not be of any encoding, as it can be printed."""
    return os.fsencode(name).decode(errors="replace")


def left_out(problems: Mapping[str, Sequence[str]], total: int) -> str:
    """The end of a summary that names the files left out, by what is wrong with them."""
    if not problems:
        return ""
    kinds = "; ".join(f"{len(p)} {kind} ({_some(p)})" for kind, p in problems.items())
    return f"; {sum(map(len, problems.values()))} of {total} files left out: {kinds}"


def _examine(path: Path, seconds: float) -> RecordedFile | Unusable:
    """A usable recording, or why the file is none."""
    frames, energy = 0, 0.0
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            rate = file.samplerate
            for mono in mono_blocks(file):
                frames += len(mono)
                energy += float(np.sum(np.square(mono, dtype=np.float64)))
    except (soundfile.SoundFileError, OSError):
        return Unusable("unreadable")
    except Unusable as problem:
        return problem
    if frames < np.ceil(seconds * rate):
        return Unusable(f"shorter than {seconds:g} s")
    rms = float(np.sqrt(energy / frames))
    if rms < decibels(SILENT_DB):
        return Unusable("silent")
    return RecordedFile(path, frames, rate, rms)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
