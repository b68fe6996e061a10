"""Packs LibriSpeech, or any folder of speakers, into a store. See `audioslots_jax.data.store`."""

import contextlib
import fcntl
import functools
import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyloudnorm
import soxr
from jaxtyping import Float32, Int16
from tqdm import tqdm

from audioslots_jax.data import recordings, store
from audioslots_jax.data.files import write_atomically
from audioslots_jax.data.level import rms
from audioslots_jax.data.libri2mix import METADATA
from audioslots_jax.data.librispeech import LIBRISPEECH
from audioslots_jax.data.parallel import ordered_map
from audioslots_jax.data.recordings import Unusable
from audioslots_jax.data.sexes import SPEAKERS, nearest
from audioslots_jax.errors import UserError
from audioslots_jax.progress import progress

PART_BYTES = 256 << 20  # of recordings in a part, where an interrupted run continues
AHEAD = 16  # recordings decoded while the one before them is written

Level = tuple[float, float, float, float]  # scale, RMS, peak and loudness
Record = dict[str, Any]  # what a part is made of, its files, and what was left out


class Source(NamedTuple):
    """A file to pack: its name in the store, its speaker, where it is, and its size and date."""

    name: str
    speaker: str
    path: Path
    bytes: int
    changed: int


def prepare(root: Path, output: Path, sample_rate: int) -> str:
    """Makes a store of a folder of recordings; finishes, mends or verifies one that is there.

    Can be interrupted at any time: the same call continues at the part that was being written.
    Returns a summary, which names what was left out: unreadable, cut off, silent, or not finite.

    Args:
      root: holds ``LibriSpeech/`` (and ``metadata/Libri2Mix/``, which is copied), or a folder per
        speaker, or ``train/``, ``dev/`` and perhaps ``test/`` with a folder per speaker each. The
        nearest ``SPEAKERS.TXT``, in it or above, is copied.
      output: the store's folder.
      sample_rate: in Hz; recordings at other rates are resampled. Several channels are mixed down.

    Raises:
      UserError: if there is nothing to pack, or ``output`` is something else or cannot be written.
    """
    sources, subsets, copied = collect(root)
    parts = divide(sources)
    if not store.is_store(output) and any(p.name != store.LOCK for p in output.glob("*")):
        raise UserError(f"--output: {output} holds something else; name a new folder.")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with open(output / store.LOCK, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"--output: another `audioslots prepare` is writing {output}; wait for it."
                ) from None
            records, intact = _records(output, parts, sample_rate)
            missing = [number for number, part in enumerate(parts) if number not in records]
            if missing:
                (output / store.INDEX).unlink(missing_ok=True)
            size = sum(source.bytes for number in missing for source in parts[number])
            bar = progress(total=size, desc=f"packing {root}", unit="B", unit_scale=True)
            with bar, warnings.catch_warnings():
                # pyloudnorm suppresses these itself, but in threads that undo each other's filters.
                warnings.simplefilter("ignore", RuntimeWarning)
                for number in missing:
                    records[number] = _write_part(output, number, parts[number], sample_rate, bar)
            ordered = [records[number] for number in range(len(parts))]
            summary = _finish(output, ordered, copied, subsets, sample_rate)
            return f"{summary}; all checksums hold." if intact else f"{summary}."
    except OSError as error:
        raise UserError(
            f"{error.filename or output}: {error.strerror}; put that right, and the same command "
            "continues."
        ) from None


def collect(root: Path) -> tuple[list[Source], list[str], dict[str, Path]]:
    """Returns recordings, the folders that divide them if any, and files to copy by their name."""
    root = root.resolve()  # whose name counts, if it is LibriSpeech's
    if not root.is_dir():
        raise UserError(f"ROOT: there is no folder {root}; name one that holds recordings.")
    base = root / LIBRISPEECH if (root / LIBRISPEECH).is_dir() else root
    speakers = nearest(base)
    copied = {} if speakers is None else {SPEAKERS: speakers}
    if base.name == LIBRISPEECH:
        folders = sorted(folder.name for folder in base.iterdir() if folder.is_dir())
        metadata = sorted((base.parent / METADATA).glob("*.csv"))
        copied |= {f"{METADATA}/{path.name}": path for path in metadata}
    else:
        folders = recordings.subsets(base)
    sources = []
    for folder in folders or [""]:
        for speaker, path in recordings.list_speakers(base / folder):
            status, name = path.stat(), path.relative_to(base).as_posix()
            sources.append(Source(name, speaker, path, status.st_size, status.st_mtime_ns))
    if not sources:
        raise UserError(
            f"ROOT: no recordings in {root}; it must hold {LIBRISPEECH}/, or a folder per speaker."
        )
    return sorted(sources, key=lambda s: os.fsencode(s.name)), folders, copied


def divide(sources: Iterable[Source]) -> list[list[Source]]:
    """Returns the sources in parts of `PART_BYTES`, each a unit of work."""
    parts: list[list[Source]] = [[]]
    size = 0
    for source in sources:
        if size >= PART_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(source)
        size += source.bytes
    return parts


def pack(source: Source, sample_rate: int) -> tuple[Int16[np.ndarray, " sample"], Level] | Unusable:
    """Returns a recording's samples and level as the store has them, or why it cannot be used.

    Samples are whole numbers of 16 bits in units of a power of two that is small enough for the
    peak. A 16-bit file at the store's rate is thus kept exactly.
    """
    try:
        blocks, rates = zip(*recordings.mono_blocks(source.path), strict=True)
    except Unusable as problem:
        return problem
    audio = np.concatenate(blocks)
    if rates[0] != sample_rate:
        audio = soxr.resample(audio, rates[0], sample_rate)
    level = rms(audio)
    if level < recordings.SILENCE:
        return Unusable("silent")
    low, high = float(np.min(audio)), float(np.max(audio))
    peak = max(-low, high)
    scale = 2.0 ** (np.frexp(peak)[1] - 16)
    while np.rint(high / scale) > 32767 or np.rint(low / scale) < -32768:
        scale *= 2
    samples = np.rint(audio * np.float32(1 / scale)).astype(store.SAMPLE)
    return samples, (scale, level, peak, loudness(audio, sample_rate))


def loudness(audio: Float32[np.ndarray, " sample"], sample_rate: int) -> float:
    """Returns the loudness in LUFS (ITU-R BS.1770-4), NaN if shorter than 0.4 s or too quiet."""
    meter = pyloudnorm.Meter(sample_rate)
    lufs = np.nan
    if len(audio) >= meter.block_size * sample_rate:
        with np.errstate(all="ignore"):
            lufs = float(meter.integrated_loudness(audio))
    return lufs if np.isfinite(lufs) else np.nan


def _write_part(
    output: Path, number: int, part: Sequence[Source], sample_rate: int, bar: tqdm
) -> Record:
    """Writes a part and returns its record, which comes last and says that the part is whole."""
    stem = output / f"part-{number:05d}"
    pcm, index, unfinished = map(stem.with_suffix, (".pcm", ".npy", ".pcm.unfinished"))
    rows: list[tuple[Any, ...]] = []
    problems: dict[str, list[str]] = {}
    start = 0
    pack_one = functools.partial(pack, sample_rate=sample_rate)
    packed = ordered_map(pack_one, part, workers=os.cpu_count() or 1, ahead=AHEAD)
    with contextlib.closing(packed), open(unfinished, "wb") as file:
        for source, encoded in zip(part, packed, strict=True):
            if isinstance(encoded, Unusable):
                problems.setdefault(str(encoded), []).append(recordings.readable(source.name))
            else:
                samples, level = encoded
                file.write(samples.tobytes())
                names = (os.fsencode(source.name), os.fsencode(source.speaker))
                rows.append((*names, number, start, len(samples), *level))
                start += len(samples)
            bar.update(source.bytes)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(pcm)
    widths = (max((len(row[i]) for row in rows), default=1) for i in range(2))
    table = io.BytesIO()
    np.save(table, np.array(rows, store.utterance_dtype(*widths)))
    write_atomically(index, table.getvalue())
    files = {path.name: store.described(path) for path in (pcm, index)}
    record = {"listing": _listing(part, sample_rate), "files": files, "left_out": problems}
    write_atomically(stem.with_suffix(".json"), json.dumps(record).encode())
    store.remember(output, files)
    return record


def _records(
    output: Path, parts: Sequence[Sequence[Source]], sample_rate: int
) -> tuple[dict[int, Record], bool]:
    """Returns the records of parts that are whole, and whether they make a store that is intact."""
    records: dict[int, Record] = {}
    for number, part in enumerate(parts):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads((output / f"part-{number:05d}.json").read_text())
            if record["listing"] == _listing(part, sample_rate):
                records[number] = record
    files = _files(records.values())
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
            records.pop(int(name[5:10]), None)
    return records, intact and len(records) == len(parts)


def _listing(part: Iterable[Source], sample_rate: int) -> str:
    """Returns a text that changes with the files that a part is made of."""
    listed = [(source.name, source.bytes, source.changed) for source in part]
    return hashlib.sha256(repr((store.FORMAT, sample_rate, listed)).encode()).hexdigest()


def _files(records: Iterable[Record]) -> dict[str, dict[str, Any]]:
    return {name: file for record in records for name, file in record["files"].items()}


def _finish(
    output: Path,
    records: list[Record],
    copied: Mapping[str, Path],
    subsets: list[str],
    sample_rate: int,
) -> str:
    """Removes what an earlier, larger store left over, copies files and seals the store."""
    files = _files(records)
    for path in output.glob("part-*"):
        if store.is_part(path) and int(path.name[5:10]) >= len(records):
            path.unlink()
    for name, path in copied.items():
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output / name, path.read_bytes())
        files[name] = store.described(path)
    table = np.concatenate([np.load(output / name) for name in files if name.endswith(".npy")])
    problems: dict[str, list[str]] = {}
    for record in records:
        for problem, names in record["left_out"].items():
            problems.setdefault(problem, []).extend(names)
    rest = recordings.left_out(problems, len(table))
    if not len(table):
        raise UserError(f"ROOT: nothing usable{rest}.")
    store.write_index(output, sample_rate, subsets, files)
    store.remember(output, files)
    speakers, hours = len(np.unique(table["speaker"])), table["frames"].sum() / sample_rate / 3600
    size = sum(file["bytes"] for file in files.values()) / 1e9
    return (
        f"{output}: {len(table):,} utterances of {speakers:,} speakers, {hours:,.2f} h at "
        f"{sample_rate} Hz, {size:,.2f} GB{rest}"
    )
