"""Packs LibriSpeech, or any folder of speakers, into a store. See `audioslots_jax.data.store`."""

import contextlib
import functools
import hashlib
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyloudnorm
import soundfile
import soxr
from jaxtyping import Float32, Int16
from tqdm import tqdm

from audioslots_jax.data import store
from audioslots_jax.data.files import write_atomically
from audioslots_jax.data.libri2mix import METADATA
from audioslots_jax.data.mixtures import decibels
from audioslots_jax.data.parallel import ordered_map
from audioslots_jax.data.recordings import (
    SILENT_DB,
    Unusable,
    left_out,
    list_speakers,
    mono_blocks,
)
from audioslots_jax.errors import UserError

PART_BYTES = 256 << 20  # of recordings in a part, where an interrupted run continues
AHEAD = 16  # recordings decoded while the one before them is written
LIBRISPEECH = "LibriSpeech"


class Source(NamedTuple):
    """A file to pack: its name in the store, its speaker, where it is, and its size and date."""

    name: str
    speaker: str
    path: Path
    bytes: int
    changed: int


class Packed(NamedTuple):
    """A recording as the store has it; see `store.utterance_dtype`."""

    samples: Int16[np.ndarray, " sample"]
    scale: float
    rms: float
    peak: float
    loudness: float
    resampled: bool


def prepare(root: Path, output: Path, sample_rate: int) -> str:
    """Makes a store of a folder of recordings; finishes, mends or verifies one that is there.

    Shows a progress bar. Can be interrupted at any time: the same call continues at the part that
    was being written.

    Args:
      root: holds ``LibriSpeech/`` (and ``metadata/Libri2Mix/``, which is copied), or a folder per
        speaker.
      output: the store's folder.
      sample_rate: in Hz; recordings at other rates are resampled. Several channels are mixed down.

    Returns:
      A summary, which names what was left out: recordings that are unreadable, cut off, silent, or
      not finite.

    Raises:
      UserError: if there is nothing to pack, or ``output`` is something else or cannot be written.
    """
    sources, metadata = find_sources(root)
    parts = divide(sources)
    if output.is_dir() and not store.is_store(output) and any(output.iterdir()):
        raise UserError(f"--output: {output} holds something else; name a new folder.")
    try:
        output.mkdir(parents=True, exist_ok=True)
        records = _records(output, parts, sample_rate)
        kept = sum(record is not None for record in records)
        if kept < len(parts):
            (output / store.INDEX).unlink(missing_ok=True)
        bar = tqdm(
            total=sum(source.bytes for source in sources), desc=f"packing {root}",
            unit="B", unit_scale=True, mininterval=0.1 if sys.stderr.isatty() else 10,
        )  # fmt: skip
        with bar, warnings.catch_warnings():
            # pyloudnorm suppresses these itself, but in threads that undo each other's filters.
            warnings.simplefilter("ignore", RuntimeWarning)
            for number, part in enumerate(parts):
                if records[number] is None:
                    records[number] = _write_part(output, number, part, sample_rate, bar)
                else:
                    bar.update(sum(source.bytes for source in part))
        return _finish(output, [r for r in records if r], metadata, sample_rate, kept)
    except OSError as error:
        raise UserError(
            f"{error.filename or output}: {error.strerror}; then the same command continues."
        ) from None


def find_sources(root: Path) -> tuple[list[Source], list[Path]]:
    """The recordings under ``root`` in the order of their names, and the metadata beside them.

    Raises:
      UserError: if there are none.
    """
    if not root.is_dir():
        raise UserError(f"ROOT: there is no folder {root}; name one that holds recordings.")
    base = root / LIBRISPEECH if (root / LIBRISPEECH).is_dir() else root
    if base.name == LIBRISPEECH:
        speakers = [pair for subset in base.iterdir() if subset.is_dir()
                    for pair in list_speakers(subset)]  # fmt: skip
        metadata = sorted((base.parent / METADATA).glob("*.csv"))
    else:
        speakers, metadata = list_speakers(base), []
    if not speakers:
        raise UserError(
            f"ROOT: no recordings in {root}; it must hold {LIBRISPEECH}/, or a folder per speaker."
        )
    sources = []
    for speaker, path in speakers:
        status = path.stat()
        name = path.relative_to(base).as_posix()
        sources.append(Source(name, speaker, path, status.st_size, status.st_mtime_ns))
    return sorted(sources, key=lambda source: source.name.encode()), metadata


def divide(sources: Sequence[Source]) -> list[list[Source]]:
    """The sources in parts of `PART_BYTES`, each a unit of work."""
    parts: list[list[Source]] = [[]]
    size = 0
    for source in sources:
        if size >= PART_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(source)
        size += source.bytes
    return parts


def pack(source: Source, sample_rate: int) -> Packed | Unusable:
    """A recording as the store has it, or why it cannot be used.

    Samples are whole numbers of 16 bits in units of a power of two that is small enough for the
    peak. A 16-bit file at the store's rate is thus kept exactly.
    """
    try:
        with soundfile.SoundFile(source.path) as file:
            rate = file.samplerate
            blocks = list(mono_blocks(file))
    except (soundfile.SoundFileError, OSError):
        return Unusable("unreadable")
    except Unusable as problem:
        return problem
    audio = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if rate != sample_rate:
        audio = soxr.resample(audio, rate, sample_rate)
    rms = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if len(audio) else 0.0
    if rms < decibels(SILENT_DB):
        return Unusable("silent")
    low, high = float(audio.min()), float(audio.max())
    peak = max(-low, high)
    scale = 2.0 ** (np.frexp(peak)[1] - 16)
    while np.rint(high / scale) > 32767 or np.rint(low / scale) < -32768:
        scale *= 2
    samples = np.rint(audio * np.float32(1 / scale)).astype(store.SAMPLE)
    return Packed(samples, scale, rms, peak, loudness(audio, sample_rate), rate != sample_rate)


def loudness(audio: Float32[np.ndarray, " sample"], sample_rate: int) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4), NaN if shorter than 0.4 s or too quiet."""
    meter = pyloudnorm.Meter(sample_rate)
    if len(audio) < meter.block_size * sample_rate:
        return float("nan")
    with np.errstate(all="ignore"):
        lufs = float(meter.integrated_loudness(audio))
    return lufs if np.isfinite(lufs) else float("nan")


def _write_part(
    output: Path, number: int, part: Sequence[Source], sample_rate: int, bar: tqdm
) -> dict[str, Any]:
    """Writes a part; its record, which comes last, says that it is whole."""
    stem = f"part-{number:05d}"
    pcm, index = output / f"{stem}.pcm", output / f"{stem}.npy"
    unfinished = pcm.with_name(pcm.name + ".unfinished")
    rows: list[tuple[Any, ...]] = []
    problems: dict[str, list[str]] = {}
    resampled = start = 0
    started = time.monotonic()
    checksum = hashlib.sha256()
    packed = ordered_map(
        functools.partial(pack, sample_rate=sample_rate), part,
        workers=os.cpu_count() or 1, ahead=AHEAD,
    )  # fmt: skip
    with contextlib.closing(packed), open(unfinished, "wb") as file:
        for source, found in zip(part, packed, strict=True):
            if isinstance(found, Unusable):
                problems.setdefault(str(found), []).append(source.name)
            else:
                content = found.samples.tobytes()
                file.write(content)
                checksum.update(content)
                numbers = (found.scale, found.rms, found.peak, found.loudness)
                place = (number, start, len(found.samples))
                rows.append((source.name.encode(), source.speaker.encode(), *place, *numbers))
                start += len(found.samples)
                resampled += found.resampled
            speed = start / sample_rate / (time.monotonic() - started)
            bar.set_postfix_str(f"{speed:,.0f} x real time", refresh=False)
            bar.update(source.bytes)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(pcm)
    widths = (max((len(row[i]) for row in rows), default=1) for i in range(2))
    table = io.BytesIO()
    np.save(table, np.array(rows, store.utterance_dtype(*widths)))
    write_atomically(index, table.getvalue())
    files = {
        pcm.name: {"bytes": start * store.SAMPLE.itemsize, "sha256": checksum.hexdigest()},
        index.name: store.described(index),
    }
    record = {
        "listing": _listing(part, sample_rate),
        "files": files,
        "left_out": problems,
        "resampled": resampled,
    }
    write_atomically(output / f"{stem}.json", json.dumps(record).encode())
    store.remember(output, files)
    return record


def _records(
    output: Path, parts: Sequence[Sequence[Source]], sample_rate: int
) -> list[dict[str, Any] | None]:
    """The records of parts that are there, of these very sources, and whole."""
    records: list[dict[str, Any] | None] = []
    for number, part in enumerate(parts):
        try:
            record = json.loads((output / f"part-{number:05d}.json").read_text())
            fits = record["listing"] == _listing(part, sample_rate)
        except (OSError, ValueError, KeyError, TypeError):
            fits = False
        records.append(record if fits else None)
    files = {name: file for record in records if record for name, file in record["files"].items()}
    # Somebody who prepares a finished store again wants to know whether it is whole.
    finished = (output / store.INDEX).exists()
    for name, problem in store.damaged(output, files, everything=finished):
        print(f"{output / name} {problem}; it is written again.")
        records[int(name[len("part-") :].split(".")[0])] = None
    return records


def _listing(part: Sequence[Source], sample_rate: int) -> str:
    """Changes with the files that a part is made of."""
    listed = [(source.name, source.bytes, source.changed) for source in part]
    return hashlib.sha256(repr((store.FORMAT, sample_rate, listed)).encode()).hexdigest()


def _finish(
    output: Path,
    records: Sequence[dict[str, Any]],
    metadata: Sequence[Path],
    sample_rate: int,
    kept: int,
) -> str:
    """Removes what an earlier, larger store left over, adds the metadata and seals the store."""
    files = {name: file for record in records for name, file in record["files"].items()}
    keep = {f"part-{number:05d}.json" for number in range(len(records))} | files.keys()
    for path in output.glob("part-*"):
        if path.name not in keep:
            path.unlink()
    (output / METADATA).mkdir(parents=True, exist_ok=True)
    for path in metadata:
        write_atomically(output / METADATA / path.name, path.read_bytes())
        files[f"{METADATA}/{path.name}"] = store.described(path)
    tables = [np.load(output / name) for name in files if name.endswith(".npy")]
    if not any(map(len, tables)):
        raise UserError(f"ROOT: nothing usable{_left_out(records, 0)}.")
    store.write_index(output, sample_rate, files)
    store.remember(output, files)
    utterances = sum(map(len, tables))
    frames = sum(int(table["frames"].sum()) for table in tables)
    speakers = len({speaker for table in tables for speaker in table["speaker"]})
    resampled = sum(record["resampled"] for record in records)
    size = sum(file["bytes"] for file in files.values())
    return (
        f"{output}: {utterances:,} utterances of {speakers:,} speakers, "
        f"{frames / sample_rate / 3600:,.2f} h at {sample_rate} Hz, {size / 1e9:,.2f} GB"
        + (f"; {resampled:,} resampled to {sample_rate} Hz" if resampled else "")
        + _left_out(records, utterances)
        + ("; all checksums hold" if kept == len(records) else "")
        + "."
    )


def _left_out(records: Sequence[dict[str, Any]], utterances: int) -> str:
    problems: dict[str, list[str]] = {}
    for record in records:
        for kind, names in record["left_out"].items():
            problems.setdefault(kind, []).extend(names)
    return left_out(problems, utterances + sum(map(len, problems.values())))
