"""Packs LibriSpeech, or any folder of speakers, into a store. See `audioslots_jax.data.store`."""

import contextlib
import fcntl
import functools
import hashlib
import io
import json
import os
import time
import warnings
from collections.abc import Iterator, Sequence
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
    HELD_OUT,
    SILENT_DB,
    TRAIN,
    Unusable,
    is_divided,
    left_out,
    list_speakers,
    mono_blocks,
    readable,
)
from audioslots_jax.data.utterances import LIBRISPEECH
from audioslots_jax.errors import UserError
from audioslots_jax.progress import progress

PART_BYTES = 256 << 20  # of recordings in a part, where an interrupted run continues
AHEAD = 16  # recordings decoded while the one before them is written


class Source(NamedTuple):
    """A file to pack: its name in the store, its speaker, where it is, and its size and date."""

    name: str
    speaker: str
    path: Path
    bytes: int
    changed: int


class Encoded(NamedTuple):
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
        speaker, or ``train/`` and ``dev/`` with a folder per speaker each.
      output: the store's folder.
      sample_rate: in Hz; recordings at other rates are resampled. Several channels are mixed down.

    Returns:
      A summary, which names what was left out: recordings that are unreadable, cut off, silent, or
      not finite.

    Raises:
      UserError: if there is nothing to pack, or ``output`` is something else or cannot be written.
    """
    found = find(root)
    parts = divide(found.sources)
    _check_output(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with _locked(output):
            records, intact = _records(output, parts, sample_rate)
            kept = sum(record is not None for record in records)
            if kept < len(parts):
                (output / store.INDEX).unlink(missing_ok=True)
            bar = progress(
                total=sum(source.bytes for source in found.sources), desc=f"packing {root}",
                unit="B", unit_scale=True,
            )  # fmt: skip
            with bar, warnings.catch_warnings():
                # pyloudnorm suppresses these itself, but in threads that undo each other's filters.
                warnings.simplefilter("ignore", RuntimeWarning)
                for number, part in enumerate(parts):
                    if records[number] is None:
                        records[number] = _write_part(output, number, part, sample_rate, bar)
                    else:
                        bar.update(sum(source.bytes for source in part))
            summary = _finish(output, [record for record in records if record], found, sample_rate)
            return f"{summary}; all checksums hold." if intact else f"{summary}."
    except OSError as error:
        raise UserError(
            f"{error.filename or output}: {error.strerror}; put that right, and the same command "
            "continues."
        ) from None


class Found(NamedTuple):
    """What there is to pack.

    Attributes:
      sources: the recordings, in the order of their names.
      subsets: the folders that divide them, as LibriSpeech's, or ``train`` and ``dev``.
      metadata: LibriMix's, beside LibriSpeech.
    """

    sources: list[Source]
    subsets: list[str]
    metadata: list[Path]


def find(root: Path) -> Found:
    """The recordings under ``root``.

    Raises:
      UserError: if there are none.
    """
    root = root.resolve()  # whose name counts, if it is LibriSpeech's
    if not root.is_dir():
        raise UserError(f"ROOT: there is no folder {root}; name one that holds recordings.")
    base = root / LIBRISPEECH if (root / LIBRISPEECH).is_dir() else root
    subsets: list[str] = []
    metadata: list[Path] = []
    if base.name == LIBRISPEECH:
        subsets = sorted(folder.name for folder in base.iterdir() if folder.is_dir())
        metadata = sorted((base.parent / METADATA).glob("*.csv"))
    elif is_divided(base):
        subsets = [HELD_OUT, TRAIN]
    speakers = [pair for subset in subsets or [""] for pair in list_speakers(base / subset)]
    if not speakers:
        raise UserError(
            f"ROOT: no recordings in {root}; it must hold {LIBRISPEECH}/, or a folder per speaker."
        )
    sources = []
    for speaker, path in speakers:
        status = path.stat()
        name = path.relative_to(base).as_posix()
        sources.append(Source(name, speaker, path, status.st_size, status.st_mtime_ns))
    return Found(sorted(sources, key=lambda source: os.fsencode(source.name)), subsets, metadata)


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


def pack(source: Source, sample_rate: int) -> Encoded | Unusable:
    """A recording as the store has it, or why it cannot be used.

    Samples are whole numbers of 16 bits in units of a power of two that is small enough for the
    peak. A 16-bit file at the store's rate is thus kept exactly.
    """
    try:
        with soundfile.SoundFile(os.fsencode(source.path)) as file:
            rate = file.samplerate
            blocks = list(mono_blocks(file))
    except (soundfile.SoundFileError, OSError):
        return Unusable("unreadable")
    except Unusable as problem:
        return problem
    if not blocks:
        return Unusable("empty")
    audio = np.concatenate(blocks)
    if rate != sample_rate:
        audio = soxr.resample(audio, rate, sample_rate)
    rms = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
    if rms < decibels(SILENT_DB):
        return Unusable("silent")
    low, high = float(np.min(audio)), float(np.max(audio))
    peak = max(-low, high)
    scale = 2.0 ** (np.frexp(peak)[1] - 16)
    while np.rint(high / scale) > 32767 or np.rint(low / scale) < -32768:
        scale *= 2
    samples = np.rint(audio * np.float32(1 / scale)).astype(store.SAMPLE)
    return Encoded(samples, scale, rms, peak, loudness(audio, sample_rate), rate != sample_rate)


def loudness(audio: Float32[np.ndarray, " sample"], sample_rate: int) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4), NaN if shorter than 0.4 s or too quiet."""
    meter = pyloudnorm.Meter(sample_rate)
    if len(audio) < meter.block_size * sample_rate:
        return float("nan")
    with np.errstate(all="ignore"):
        lufs = float(meter.integrated_loudness(audio))
    return lufs if np.isfinite(lufs) else float("nan")


def _check_output(output: Path) -> None:
    """Refuses to write among files that are not a store's."""
    ours = {store.INDEX, store.VERIFIED, store.LOCK, METADATA.parts[0]}
    others = [
        path.name
        for path in (output.iterdir() if output.is_dir() else ())
        if not store.is_part(path) and path.name.removesuffix(".unfinished") not in ours
    ]
    if others:
        raise UserError(
            f"--output: {output} holds something else ({others[0]}); name a new folder."
        )


@contextlib.contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Keeps others from writing the same store; the system releases it when the process ends."""
    with open(output / store.LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"--output: another `audioslots prepare` is writing {output}; wait for it."
            ) from None
        yield


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
                problems.setdefault(str(found), []).append(readable(source.name))
            else:
                content = found.samples.tobytes()
                file.write(content)
                checksum.update(content)
                numbers = (found.scale, found.rms, found.peak, found.loudness)
                place = (number, start, len(found.samples))
                names = (os.fsencode(source.name), os.fsencode(source.speaker))
                rows.append((*names, *place, *numbers))
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
) -> tuple[list[dict[str, Any] | None], bool]:
    """The records of parts that are there, of these very sources, and whole.

    Returns:
      A record or nothing for each part, and whether they are a finished store that is intact.
    """
    records: list[dict[str, Any] | None] = []
    for number, part in enumerate(parts):
        try:
            record = json.loads((output / f"part-{number:05d}.json").read_text())
            fits = record["listing"] == _listing(part, sample_rate)
        except (OSError, ValueError, KeyError, TypeError):
            fits = False
        records.append(record if fits else None)
    files = {name: file for record in records if record for name, file in record["files"].items()}
    finished = intact = (output / store.INDEX).exists()
    if finished:
        try:
            files |= store.read_index(output)["files"]
        except UserError as error:
            print(error)
            intact = False
    # Somebody who prepares a finished store again wants to know whether it is whole.
    for name, problem in store.damaged(output, files, everything=finished):
        print(f"{output / name} {problem}; it is written again.")
        intact = False
        if store.PART.fullmatch(name):
            records[int(name.removeprefix("part-").split(".")[0])] = None
    return records, intact and None not in records


def _listing(part: Sequence[Source], sample_rate: int) -> str:
    """Changes with the files that a part is made of."""
    listed = [(source.name, source.bytes, source.changed) for source in part]
    return hashlib.sha256(repr((store.FORMAT, sample_rate, listed)).encode()).hexdigest()


def _finish(output: Path, records: Sequence[dict[str, Any]], found: Found, sample_rate: int) -> str:
    """Removes what an earlier, larger store left over, adds the metadata and seals the store."""
    files = {name: file for record in records for name, file in record["files"].items()}
    keep = {f"part-{number:05d}.json" for number in range(len(records))} | files.keys()
    for path in output.glob("part-*"):
        if path.name not in keep and store.is_part(path):
            path.unlink()
    for path in found.metadata:
        (output / METADATA).mkdir(parents=True, exist_ok=True)
        write_atomically(output / METADATA / path.name, path.read_bytes())
        files[f"{METADATA}/{path.name}"] = store.described(path)
    tables = [np.load(output / name) for name in files if name.endswith(".npy")]
    utterances = sum(map(len, tables))
    problems: dict[str, list[str]] = {}
    for record in records:
        for kind, names in record["left_out"].items():
            problems.setdefault(kind, []).extend(names)
    problem = left_out(problems, len(found.sources))
    if not utterances:
        raise UserError(f"ROOT: nothing usable{problem}.")
    store.write_index(output, sample_rate, found.subsets, files)
    store.remember(output, files)
    hours = sum(int(table["frames"].sum()) for table in tables) / sample_rate / 3600
    speakers = len({speaker for table in tables for speaker in table["speaker"]})
    resampled = sum(record["resampled"] for record in records)
    size = sum(file["bytes"] for file in files.values()) / 1e9
    return (
        f"{output}: {utterances:,} utterances of {speakers:,} speakers, {hours:,.2f} h at "
        f"{sample_rate} Hz, {size:,.2f} GB"
        + (f"; {resampled:,} resampled to {sample_rate} Hz" if resampled else "")
        + problem
    )
