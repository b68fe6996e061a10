"""Recordings on disk: which files of a folder can be used, and crops of them."""

import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32
from tqdm import tqdm

from audioslots_jax.data.mixtures import decibels
from audioslots_jax.errors import UserError

SUFFIXES = frozenset(
    ".aif .aifc .aiff .au .avr .caf .flac .htk .iff .mp3 .nist .oga .ogg .opus .paf .pvf .rf64 "
    ".sds .sf .snd .sph .svx .voc .w64 .wav .wve .xi".split()
)
SILENT_DB = -80.0
NAMED = 50  # files of a kind that a summary names
RESAMPLING_MARGIN = 0.02  # seconds of context on each side of a crop that is resampled


@dataclasses.dataclass(frozen=True)
class Recording:
    """A usable file: its length in frames, sampling rate in Hz and RMS re full scale."""

    path: Path
    frames: int
    sample_rate: int
    rms: float


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
    audio, _ = soundfile.read(
        recording.path, start=begin, frames=end - begin, dtype="float32", always_2d=True
    )
    if len(audio) < end - begin:
        raise OSError(f"{recording.path} ends before frame {end}")
    mono = audio.mean(axis=1)
    if ratio != 1:
        mono = soxr.resample(mono, recording.sample_rate, sample_rate)
    offset = round((start - begin) / ratio)
    crop = mono[offset : offset + samples]
    return np.pad(crop, (0, samples - len(crop)))


def scan(
    root: Path, *, field: str, sample_rate: int, samples: int
) -> tuple[dict[str, list[Recording]], str]:
    """Reads every recording under ``root`` once, and sorts out what cannot be trained on.

    Shows a progress bar.

    Args:
      root: a folder with one folder per speaker.
      field: the config's field that named it, for messages.
      sample_rate: the model's, in Hz.
      samples: length of a crop at that rate; shorter recordings are left out.

    Returns:
      The usable recordings by speaker, and a summary for the user that names the files left out.

    Raises:
      UserError: if there is no such folder, or nothing usable in it.
    """
    if not root.is_dir():
        raise UserError(f"{field}: there is no folder {root}; give one with a folder per speaker.")
    speakers = sorted(folder for folder in root.iterdir() if folder.is_dir())
    files = [
        (speaker.name, path)
        for speaker in speakers
        for path in sorted(speaker.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not files:
        raise UserError(
            f"{field}: no recordings in {root}/<speaker>/; expected a folder per speaker with "
            "files such as .wav, .flac or .ogg in it."
        )
    examine = functools.partial(_examine, seconds=samples / sample_rate)
    recordings: dict[str, list[Recording]] = {}
    problems: dict[str, list[Path]] = {}
    resampled = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        examined = pool.map(examine, (path for _, path in files))
        bar = tqdm(examined, f"reading {root}", len(files), unit="file", leave=False)
        for (speaker, path), found in zip(files, bar, strict=True):
            if isinstance(found, str):
                problems.setdefault(found, []).append(path)
                continue
            recordings.setdefault(speaker, []).append(found)
            if found.sample_rate != sample_rate:
                resampled.append(path)
    total = sum(map(len, recordings.values()))
    summary = f"{root}: {total} recordings of {len(recordings)} speakers"
    if problems:
        left_out = sum(map(len, problems.values()))
        kinds = "; ".join(f"{len(p)} {kind} ({_some(p, root)})" for kind, p in problems.items())
        summary += f"; {left_out} of {len(files)} files left out: {kinds}"
    if resampled:
        summary += f"; {len(resampled)} resampled to {sample_rate} Hz"
    if not recordings:
        raise UserError(f"{field}: nothing usable in {summary}.")
    return recordings, summary + "."


def _examine(path: Path, seconds: float) -> Recording | str:
    """A usable recording, or why the file is none."""
    frames, energy = 0, 0.0
    try:
        with soundfile.SoundFile(path) as file:
            rate, promised = file.samplerate, file.frames
            for block in file.blocks(1 << 16, dtype="float32", always_2d=True):
                mono = block.mean(axis=1)
                frames += len(mono)
                energy += float(np.sum(np.square(mono, dtype=np.float64)))
    except (soundfile.SoundFileError, OSError):
        return "unreadable"
    if frames < promised:
        return "truncated"
    if not np.isfinite(energy):
        return "with samples that are not finite"
    if frames < np.ceil(seconds * rate):
        return f"shorter than {seconds:g} s"
    rms = float(np.sqrt(energy / frames))
    if rms < decibels(SILENT_DB):
        return "silent"
    return Recording(path, frames, rate, rms)


def _some(paths: Sequence[Path], root: Path) -> str:
    shown = ", ".join(str(path.relative_to(root)) for path in paths[:NAMED])
    return shown + (f" and {len(paths) - NAMED} more" if len(paths) > NAMED else "")
