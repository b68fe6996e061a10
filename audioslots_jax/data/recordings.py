"""Recordings on disk: which files of a folder can be used, and crops of them."""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from audioslots_jax.data.level import decibels
from audioslots_jax.data.parallel import ordered_map
from audioslots_jax.data.sound_files import LOUDEST
from audioslots_jax.data.store import is_store, open_store, read_index
from audioslots_jax.errors import UserError
from audioslots_jax.progress import progress

SUFFIXES = frozenset(
    ".aif .aifc .aiff .au .avr .caf .flac .htk .iff .mp3 .nist .oga .ogg .opus .paf .pvf .rf64 "
    ".sds .sf .snd .sph .svx .voc .w64 .wav .wve .xi".split()
)
SILENCE = decibels(-80.0)  # RMS of a recording, below which it is of no use
NAMED = 50  # files of one problem that a summary names
RESAMPLING_MARGIN = 0.02  # seconds of context on each side of an excerpt that is resampled

Recordings = dict[str, list["Recording"]]  # by speaker


class LostRecordingError(Exception):
    """The path of a recording that was usable before and cannot be read any more."""


class Unusable(Exception):  # noqa: N818 (a verdict on a file; nobody made an error)
    """Why a file cannot be used, in a few words."""


class Recording(NamedTuple):
    """Something usable: a file, or an utterance, whose ``path`` is its name below the store's.

    ``read(start, frames)`` returns some frames, mixed down to one channel, or raises a
    `LostRecordingError` or `UserError` if they cannot be read any more. The RMS is re full scale.
    """

    path: Path
    frames: int
    sample_rate: int
    rms: float
    read: Callable[[int, int], Float32[np.ndarray, " sample"]]

    def samples(self, sample_rate: int) -> int:
        """Returns its length at another sampling rate."""
        return self.frames * sample_rate // self.sample_rate


def read_crop(
    recordings: Sequence[Recording], position: float, samples: int, sample_rate: int
) -> Float32[np.ndarray, " sample"]:
    """Returns a crop of one channel, of recordings that are brought to an RMS of 1.

    It is taken from the first recording; if that is shorter than the crop, from the first ones
    joined that are long enough together. Zeros follow where even all of them are too short.
    ``position`` is in [0, 1): 0 is the first possible, 1 would be past the last.

    Raises:
      LostRecordingError, UserError: if a recording cannot be read any more.
    """
    ends = [0]
    for recording in recordings:
        ends.append(ends[-1] + recording.samples(sample_rate))
        if ends[-1] >= samples:
            break
    start = int(position * max(ends[-1] - samples + 1, 1))
    crop = np.zeros(samples, np.float32)
    for recording, (begin, end) in zip(recordings, itertools.pairwise(ends), strict=False):
        low, high = max(begin, start), min(end, start + samples)
        if low < high:
            excerpt = _excerpt(recording, low - begin, high - low, sample_rate)
            crop[low - start : high - start] = excerpt / recording.rms
    return crop


def _excerpt(
    recording: Recording, start: int, samples: int, sample_rate: int
) -> Float32[np.ndarray, " sample"]:
    """Returns ``samples`` samples from ``start`` on, both at ``sample_rate`` Hz."""
    ratio = recording.sample_rate / sample_rate
    if ratio == 1:
        return recording.read(start, samples)
    margin = int(RESAMPLING_MARGIN * recording.sample_rate)
    begin = max(int(start * ratio) - margin, 0)
    end = min(int(np.ceil((start + samples) * ratio)) + margin, recording.frames)
    mono = recording.read(begin, end - begin)
    mono = soxr.resample(mono, recording.sample_rate, sample_rate)[round(start - begin / ratio) :]
    return np.pad(mono[:samples], (0, max(samples - len(mono), 0)))


def scan(root: Path, *, field: str, sample_rate: int) -> tuple[Recordings, str]:
    """Reads every recording under ``root`` once, and sorts out what cannot be trained on.

    Returns the usable recordings, and a summary for the user that names the files left out.

    Args:
      root: a folder with one folder per speaker; or a store, or a subset ``STORE/<subset>``, where
        all that is done already.
      field: the config's field that named it, for messages.
      sample_rate: the model's, in Hz.

    Raises:
      UserError: if there is no such folder, nothing usable in it, or the store is damaged.
    """
    problems: dict[str, list[str]] = {}
    if is_store(root):
        usable = _stored(root, "")
    elif is_store(root.parent) and root.name in read_index(root.parent)["subsets"]:
        usable = _stored(root.parent, root.name)
    elif not root.is_dir():
        raise UserError(f"{field}: there is no folder {root}; give one with a folder per speaker.")
    else:
        usable, problems = _read_all(root, field)
    recordings: Recordings = {}
    for speaker, recording in usable:
        recordings.setdefault(speaker, []).append(recording)
    resampled = sum(recording.sample_rate != sample_rate for _, recording in usable)
    summary = f"{root}: {len(usable)} recordings of {len(recordings)} speakers"
    summary += left_out(problems, len(usable))
    summary += f"; {resampled} resampled to {sample_rate} Hz." if resampled else "."
    if not usable:
        raise UserError(f"{field}: nothing usable in {summary}")
    return recordings, summary


def scan_files(root: Path, *, field: str, sample_rate: int) -> tuple[dict[str, Recording], str]:
    """Reads every recording below a folder once, of whomever it is, and sorts out what is unusable.

    Returns the usable recordings by name below the folder, and a summary; see `scan`.

    Raises:
      UserError: if there is no such folder, nothing usable in it, or the store is damaged.
    """
    problems: dict[str, list[str]] = {}
    if is_store(root):
        usable = _stored(root, "")
    elif not root.is_dir():
        raise UserError(f"{field}: there is no folder {root}; give one with recordings.")
    else:
        paths = sorted(_files(root, frozenset()))
        files = [("", path) for path in paths if path.suffix.lower() in SUFFIXES]
        usable, problems = _examine_all(root, files)
    resampled = sum(recording.sample_rate != sample_rate for _, recording in usable)
    summary = f"{root}: {len(usable)} recordings{left_out(problems, len(usable))}"
    summary += f"; {resampled} resampled to {sample_rate} Hz." if resampled else "."
    if not usable:
        raise UserError(f"{field}: nothing usable in {summary}")
    return {str(one.path.relative_to(root)): one for _, one in usable}, summary


def _stored(path: Path, subset: str) -> list[tuple[str, Recording]]:
    """Returns the recordings of a store with their speakers."""
    store = open_store(path)
    rows = store.rows_of(subset)
    table, utterances = store.table[rows], store.select(rows)
    usable = []
    for index, row in enumerate(table):
        name, speaker = path / os.fsdecode(row["name"]), os.fsdecode(row["speaker"])
        frames, rms = int(row["frames"]), float(row["rms"])
        read = functools.partial(utterances.excerpt, index)
        usable.append((speaker, Recording(name, frames, store.sample_rate, rms, read)))
    return usable


def _read_all(root: Path, field: str) -> tuple[list[tuple[str, Recording]], dict[str, list[str]]]:
    """Returns the usable files with their speakers, and the names of others by their problem."""
    files = list_speakers(root)
    if not files:
        raise UserError(
            f"{field}: no recordings in {root}/<speaker>/; expected a folder per speaker with "
            "files such as .wav, .flac or .ogg in it."
        )
    return _examine_all(root, files)


def _examine_all(
    root: Path, files: Sequence[tuple[str, Path]]
) -> tuple[list[tuple[str, Recording]], dict[str, list[str]]]:
    """Returns the usable ones of files below a folder, and the names of others by their problem."""
    workers = os.cpu_count() or 1
    examined = ordered_map(_examine, (path for _, path in files), workers=workers, ahead=64)
    usable: list[tuple[str, Recording]] = []
    problems: dict[str, list[str]] = {}
    with contextlib.closing(examined):
        bar = progress(examined, desc=f"reading {root}", total=len(files), unit="file", leave=False)
        for (speaker, path), verdict in zip(files, bar, strict=True):
            if isinstance(verdict, Unusable):
                problems.setdefault(str(verdict), []).append(readable(path.relative_to(root)))
            else:
                usable.append((speaker, verdict))
    return usable, problems


def subsets(root: Path) -> list[str]:
    """Returns which of train, dev and test divide the speakers of a folder or store; or none."""
    stored = is_store(root)
    names = set(read_index(root)["subsets"] if stored else (p.name for p in root.glob("*/")))
    names &= {"train", "dev", "test"}
    return sorted(names) if {"train", "dev"} <= names else []


def list_speakers(root: Path) -> list[tuple[str, Path]]:
    """Returns the files in ``root/<speaker>/`` that are recordings by name, with their speakers."""
    return [
        (speaker.name, path)
        for speaker in sorted(root.iterdir())
        if speaker.is_dir()
        for path in sorted(_files(speaker, frozenset()))
        if path.suffix.lower() in SUFFIXES
    ]


def _files(folder: Path, inside: frozenset[str]) -> Iterator[Path]:
    """Yields the files below a folder; follows links to folders, but not round in a circle."""
    inside |= {os.path.realpath(folder)}
    for path in folder.iterdir():
        if path.is_file():
            yield path
        elif path.is_dir() and os.path.realpath(path) not in inside:
            yield from _files(path, inside)


def mono_blocks(path: Path) -> Iterator[tuple[Float32[np.ndarray, " sample"], int]]:
    """Yields blocks of a file, mixed down, with its sampling rate; raises what is `Unusable`."""
    frames = 0
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            for block in file.blocks(1 << 16, dtype="float32", always_2d=True):
                mono = block[:, 0] if file.channels == 1 else block.mean(axis=1)
                if not (np.abs(mono) <= LOUDEST).all():
                    raise Unusable("with samples that are not finite or far beyond full scale")
                frames += len(mono)
                yield mono, file.samplerate
            if frames < file.frames or not frames:
                raise Unusable("truncated" if file.frames else "empty")
    except (soundfile.SoundFileError, OSError):
        raise Unusable("unreadable") from None


def readable(name: str | Path) -> str:
    """Returns a file's name, which need not be of any encoding, as it can be printed."""
    return os.fsencode(name).decode(errors="replace")


def left_out(problems: Mapping[str, Sequence[str]], usable: int) -> str:
    """Returns the end of a summary that names the files left out, by what is wrong with them."""
    if not problems:
        return ""
    count = sum(map(len, problems.values()))
    named = "; ".join(f"{len(p)} {problem} ({some(p)})" for problem, p in problems.items())
    return f"; {count} of {count + usable} files left out: {named}"


def some(names: Sequence[str]) -> str:
    """Returns the first names of a list, and how many more there are."""
    shown = ", ".join(names[:NAMED])
    return shown + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _examine(path: Path) -> Recording | Unusable:
    """Returns a usable recording, or why the file is none."""
    rate, frames, energy = 0, 0, 0.0
    try:
        for mono, sample_rate in mono_blocks(path):
            rate, frames = sample_rate, frames + len(mono)
            energy += float(np.sum(np.square(mono, dtype=np.float64)))
    except Unusable as problem:
        return problem
    rms = (energy / frames) ** 0.5
    if rms < SILENCE:
        return Unusable("silent")
    return Recording(path, frames, rate, rms, functools.partial(_read_file, path))


def _read_file(path: Path, start: int, frames: int) -> Float32[np.ndarray, " sample"]:
    with contextlib.suppress(soundfile.SoundFileError, OSError):
        audio, _ = soundfile.read(
            os.fsencode(path), start=start, frames=frames, dtype="float32", always_2d=True
        )
        if len(audio) == frames:
            return audio.mean(axis=1)
    raise LostRecordingError(path)
