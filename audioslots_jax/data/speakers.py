"""Mixtures of recordings in a folder per speaker: ``ROOT/<speaker>/**/*.{wav,flac,ogg,...}``."""

import concurrent.futures
import dataclasses
import functools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32
from tqdm import tqdm

from audioslots_jax.data.mixtures import decibels, random_generator
from audioslots_jax.errors import UserError

SUFFIXES = frozenset(
    ".aif .aifc .aiff .au .avr .caf .flac .htk .iff .mp3 .nist .oga .ogg .opus .paf .pvf .rf64 "
    ".sds .sf .snd .sph .svx .voc .w64 .wav .wve .xi".split()
)
LEVELS_DB = (-33.0, -25.0)  # RMS of a recording re full scale; LibriMix's range, which is in LUFS
SILENT_DB = -80.0
ACTIVE_DB = -15.0  # a crop this far below its recording holds a pause rather than speech
ACTIVE_TRIES = 20
HELD_OUT_SHARE = 0.1
RESAMPLING_MARGIN = 0.02  # seconds of context on each side of a crop that is resampled


@dataclasses.dataclass(frozen=True)
class Recording:
    """A usable file: its length in frames, sampling rate in Hz and RMS re full scale."""

    path: Path
    frames: int
    sample_rate: int
    rms: float


class Speakers:
    """Random crops of recordings of different speakers, at random levels.

    Each source is one speaker's: a recording, a crop and a level are drawn uniformly. The level is
    that of the whole recording, so a crop may hold a pause, as a piece of a conversation does.
    """

    def __init__(
        self,
        recordings: dict[str, list[Recording]],
        *,
        sample_rate: int,
        samples: int,
        sources: int = 2,
        active: bool = False,
    ):
        """Args:
        recordings: by speaker, as `scan` gives them; at least ``sources`` speakers.
        sample_rate: of the crops, in Hz.
        samples: length of the crops.
        sources: speakers per mixture.
        active: draw crops again that hold a pause; for scores, which silence would leave
          undefined.
        """
        self.recordings = [recordings[name] for name in sorted(recordings)]
        self.sample_rate, self.samples, self.sources = sample_rate, samples, sources
        self.active = active

    def example(self, seed: int, step: int, row: int) -> Float32[np.ndarray, "source sample"]:
        """See `Mixtures`; unreadable files are replaced by the speaker's next one."""
        random = random_generator(seed, step, row)
        speakers = random.choice(len(self.recordings), self.sources, replace=False)
        return np.stack([self._source(self.recordings[i], random) for i in speakers])

    def _source(self, recordings: Sequence[Recording], random: np.random.Generator) -> np.ndarray:
        level = random.uniform(*LEVELS_DB)
        first = int(random.integers(len(recordings)))
        places = random.uniform(size=ACTIVE_TRIES if self.active else 1)
        for turn in range(len(recordings)):
            recording = recordings[(first + turn) % len(recordings)]
            try:
                crop = self._crop(recording, places)
            except (soundfile.SoundFileError, OSError):
                _warn_once(recording.path)
                continue
            return (crop * (decibels(level) / recording.rms)).astype(np.float32)
        raise UserError(
            f"none of the {len(recordings)} recordings beside {recordings[0].path} can be read any "
            "more; check the disk and start again, training continues from its last checkpoint."
        )

    def _crop(self, recording: Recording, places: np.ndarray) -> np.ndarray:
        """The first of the places with speech in it, or the loudest."""
        loudest, loudest_rms = np.zeros(self.samples, np.float32), -1.0
        for place in places:
            crop = read_crop(recording, place, self.samples, self.sample_rate)
            rms = float(np.sqrt(np.mean(np.square(crop, dtype=np.float64))))
            if rms > loudest_rms:
                loudest, loudest_rms = crop, rms
            if rms >= recording.rms * decibels(ACTIVE_DB):
                break
        return loudest


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
    root: Path, *, sample_rate: int, samples: int, progress: bool = False
) -> tuple[dict[str, list[Recording]], str]:
    """Reads every recording under ``root`` once, and sorts out what cannot be trained on.

    Args:
      root: a folder with one folder per speaker.
      sample_rate: the model's, in Hz.
      samples: length of a crop at that rate; shorter recordings are left out.
      progress: show a progress bar.

    Returns:
      The usable recordings by speaker, and a summary for the user that names the files left out
      (the first of each kind) or resampled.

    Raises:
      UserError: if there is no such folder, or nothing usable in it.
    """
    if not root.is_dir():
        raise UserError(
            f"data.root: there is no folder {root}; give one with a folder per speaker."
        )
    speakers = sorted(folder for folder in root.iterdir() if folder.is_dir())
    files = [
        (speaker.name, path)
        for speaker in speakers
        for path in sorted(speaker.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not files:
        raise UserError(
            f"data.root: no recordings in {root}/<speaker>/; expected a folder per speaker with "
            "files such as .wav, .flac or .ogg in it."
        )
    examine = functools.partial(_examine, seconds=samples / sample_rate)
    recordings: dict[str, list[Recording]] = {}
    problems: dict[str, list[Path]] = {}
    resampled = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        examined = pool.map(examine, (path for _, path in files))
        bar = tqdm(examined, f"reading {root}", len(files), disable=not progress, unit="file")
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
        summary += f"; {len(resampled)} resampled to {sample_rate} Hz ({_some(resampled, root)})"
    if not recordings:
        raise UserError(f"data.root: nothing to train on in {summary}.")
    return recordings, summary + "."


def hold_out(
    recordings: dict[str, list[Recording]], sources: int
) -> tuple[dict[str, list[Recording]], dict[str, list[Recording]]]:
    """Splits speakers, not recordings: about a tenth of them, drawn once and for all, is held out.

    Raises:
      UserError: if there are too few speakers to fill a mixture on both sides.
    """
    held_out = max(sources, round(HELD_OUT_SHARE * len(recordings)))
    if len(recordings) < held_out + sources:
        raise UserError(
            f"data.root has usable recordings of {len(recordings)} speakers, but {2 * sources} are "
            f"needed: {sources} to train on and {sources} to hold out; add speakers, or name a "
            "folder of other speakers in data.eval_root."
        )
    names = random_generator(0).permutation(sorted(recordings))
    return (
        {str(name): recordings[name] for name in names[held_out:]},
        {str(name): recordings[name] for name in names[:held_out]},
    )


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
    shown = ", ".join(str(path.relative_to(root)) for path in paths[:3])
    return shown + (", ..." if len(paths) > 3 else "")


@functools.cache
def _warn_once(path: Path) -> None:
    warnings.warn(
        f"{path} could be read when training started and cannot be now; another recording of the "
        "same speaker takes its place.",
        stacklevel=2,
    )
