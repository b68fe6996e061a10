"""A store: recordings packed once, so that a random crop costs reading that crop.

    DIR/store.json        sampling rate, and size and checksum of every other file; written last
    DIR/part-00000.pcm    16-bit samples (little endian), one utterance after the other
    DIR/part-00000.npy    a row of `utterance_dtype` for each of them
    DIR/part-00000.json   which files they are of; for `audioslots prepare` to continue
    DIR/metadata/         the metadata of LibriMix, copied
    DIR/SPEAKERS.TXT      LibriSpeech's list of speakers, copied
    DIR/verified.json     size and date of every file when its checksum was last computed
    DIR/lock              held while `audioslots prepare` writes

Samples are read with ``preadv`` rather than through a memory map, so that a process does not grow
with what it has read, and a lost disk is an error instead of a crash.
"""

import contextlib
import hashlib
import json
import os
import re
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int16, Shaped

from audioslots_jax.data.files import write_atomically
from audioslots_jax.data.parallel import ordered_map
from audioslots_jax.errors import UserError
from audioslots_jax.progress import progress

FORMAT = 1
INDEX, VERIFIED, LOCK = "store.json", "verified.json", "lock"
PART = re.compile(r"part-\d{5}\.(pcm|npy|json)(\.unfinished)?")
SAMPLE = np.dtype("<i2")
AGAIN = "run `audioslots prepare` with the same arguments again, which puts it right"


def utterance_dtype(name: int, speaker: int) -> np.dtype:
    """Returns the type of a row about an utterance, for names and speakers of so many bytes.

    ``start`` and ``frames`` say where it is in ``part``, in samples; ``scale`` is the amplitude of
    one unit, with full scale at 1; ``loudness`` is in LUFS, NaN where it is not defined.
    """
    place = [("part", "<i4"), ("start", "<i8"), ("frames", "<i4")]
    level = [(field, "<f4") for field in ("scale", "rms", "peak", "loudness")]
    return np.dtype([("name", f"S{name}"), ("speaker", f"S{speaker}"), *place, *level])


class Store(NamedTuple):
    """An open store, whose table has a row of `utterance_dtype` for each utterance, by name."""

    path: Path
    sample_rate: int
    table: Shaped[np.ndarray, " utterance"]
    samples: "Samples"

    def rows_of(self, subset: str) -> Int[np.ndarray, " row"]:
        """Returns the rows of the table whose names are in a subset; all of them if it is empty."""
        prefix = f"{subset}/" if subset else ""
        return np.flatnonzero(np.char.startswith(self.table["name"], prefix.encode()))

    def named(self, names: Sequence[str]) -> "Packed":
        """Returns the utterances of these names; those that are missing are not `present`."""
        encoded = np.array([os.fsencode(name) for name in names])
        rows = np.searchsorted(self.table["name"], encoded).clip(max=len(self.table) - 1)
        utterances = self.select(rows)
        utterances.present = self.table["name"][rows] == encoded
        return utterances

    def select(self, rows: Int[np.ndarray, " row"]) -> "Packed":
        """Returns the utterances in these rows of the table."""
        return Packed(self.samples, self.table[rows])


class Packed:
    """Some utterances of a store, with the ``frames``, ``peak`` and ``loudness`` of its table."""

    def __init__(self, samples: "Samples", table: Shaped[np.ndarray, " utterance"]):
        """Keeps a few numbers for each utterance, and no names, which are most of a table."""
        self.present = np.ones(len(table), bool)  # all, but where `named` did not find them
        self.speaker = np.unique(table["speaker"], return_inverse=True)[1].astype(np.int32)
        self.frames, self.peak, self.loudness, self._part, self._start, self._scale = (
            table[field].copy()
            for field in ("frames", "peak", "loudness", "part", "start", "scale")
        )
        self._samples = samples

    def whole(self, index: int) -> Float32[np.ndarray, " sample"]:
        """Returns an utterance, full scale at 1."""
        return self.excerpt(index, 0, int(self.frames[index]))

    def excerpt(self, index: int, start: int, frames: int) -> Float32[np.ndarray, " sample"]:
        """Returns a part of an utterance; see `read`."""
        out = np.empty((1, frames), np.float32)
        self.read(np.array([index]), np.array([start]), np.ones(1, np.float32), out)
        return out[0]

    def read(
        self,
        indices: Int[np.ndarray, " crop"],
        starts: Int[np.ndarray, " crop"],
        gains: Float32[np.ndarray, " crop"],
        out: Float32[np.ndarray, "crop sample"],
    ) -> None:
        """Fills ``out`` with crops of utterances, each times its gain; zeros where one has ended.

        Raises:
          UserError: if a part of the store is lost or cut off.
        """
        counts = np.clip(self.frames[indices] - starts, 0, out.shape[1]).tolist()
        parts, firsts = self._part[indices].tolist(), (self._start[indices] + starts).tolist()
        units = np.empty(out.shape, SAMPLE)
        for part, start, count, crop in zip(parts, firsts, counts, units, strict=True):
            self._samples.read(part, start, crop[:count])
            if count < len(crop):
                crop[count:] = 0
        # The scale is a power of two, so that this rounds just as gain x sample does.
        np.multiply(units, (gains * self._scale[indices])[:, None], out=out)


class Samples:
    """The parts of a store, open for reading by any number of threads; they close with it."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = list(paths)
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        for file in self._files:
            weakref.finalize(self, os.close, file)

    def read(self, part: int, start: int, out: Int16[np.ndarray, " sample"]) -> None:
        """Fills ``out`` with samples of a part; raises a `UserError` if they are gone."""
        rest: np.ndarray = out
        offset = start * SAMPLE.itemsize
        while True:
            try:
                count = os.preadv(self._files[part], [rest.data], offset)
            except OSError as error:
                raise UserError(f"{self.paths[part]} cannot be read ({error.strerror}).") from None
            if count == rest.nbytes:
                return
            if not count:
                raise UserError(f"{self.paths[part]} is cut off; {AGAIN}.")
            # A network's file system may give less than is asked for.
            rest, offset = rest.view(np.uint8)[count:], offset + count


def is_store(path: Path) -> bool:
    """Returns whether a folder is a store, or the beginning of one."""
    return (path / INDEX).exists() or any(map(is_part, path.glob("part-*")))


def is_part(path: Path) -> bool:
    """Returns whether a file is of a part of a store, or the beginning of one."""
    return PART.fullmatch(path.name) is not None and path.is_file()


def open_store(path: Path, sample_rate: int | None = None) -> Store:
    """Returns a store, at ``sample_rate`` Hz if that is given, after a look at every file of it.

    Files whose size and date are as when they were verified are taken to be whole; of others (the
    store was copied, or something wrote into it) the checksum is computed first. A `UserError` says
    that the store is unfinished, at another rate, or which file of it is missing or damaged.
    """
    sealed = read_index(path)
    if sample_rate not in (None, sealed["sample_rate"]):
        raise UserError(
            f"{path} is a store at {sealed['sample_rate']} Hz, and {sample_rate} Hz is needed; "
            f"prepare one with --sample-rate={sample_rate}."
        )
    try:
        for name, damage in damaged(path, sealed["files"]):
            raise UserError(f"the store {path} is damaged: {name} {damage}; {AGAIN}.")
        parts = sorted(path / name for name in sealed["files"] if name.endswith(".npy"))
        table = np.concatenate([np.load(part) for part in parts])
        samples = Samples([part.with_suffix(".pcm") for part in parts])
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}"
        raise UserError(f"the store {path} cannot be read: {problem}.") from None
    return Store(path, sealed["sample_rate"], table, samples)


def read_index(path: Path) -> dict[str, Any]:
    """Returns what ``store.json`` says; raises a `UserError` if it is missing or damaged."""
    try:
        sealed = json.loads((path / INDEX).read_text())
        if sealed.pop("seal") != _seal(sealed):
            raise ValueError
    except FileNotFoundError:
        raise UserError(f"{path} is an unfinished store; {AGAIN}.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path / INDEX} is damaged; {AGAIN}.") from None
    if sealed["format"] != FORMAT:
        raise UserError(f"{path} has format {sealed['format']}, not {FORMAT}; prepare it again.")
    return sealed


def write_index(
    path: Path, sample_rate: int, subsets: Sequence[str], files: Mapping[str, Any]
) -> None:
    """Finishes a store: ``files`` are its files, each as `described`."""
    content = {"format": FORMAT, "sample_rate": sample_rate, "subsets": subsets, "files": files}
    text = json.dumps({**content, "seal": _seal(content)}, indent=1)
    write_atomically(path / INDEX, f"{text}\n".encode())


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def described(path: Path) -> dict[str, Any]:
    """Returns size and checksum of a file."""
    with open(path, "rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": checksum}


def damaged(
    path: Path, files: Mapping[str, Any], *, everything: bool = False
) -> Iterator[tuple[str, str]]:
    """Yields every file of a store that is not as it was `described`, and what is wrong with it.

    Where ``everything``, all checksums are computed, even of files that have not changed.
    """
    stamps = {} if everything else _read_stamps(path)
    suspects: list[str] = []
    for name, expected in files.items():
        if not (path / name).exists():
            yield name, "is missing"
        elif (stamp := _stamp(path / name))[0] != expected["bytes"]:
            yield name, f"has {stamp[0]:,} bytes instead of {expected['bytes']:,}"
        elif stamps.get(name) != stamp:
            suspects.append(name)
    if not suspects:
        return
    paths, workers = [path / name for name in suspects], os.cpu_count() or 1
    descriptions = ordered_map(described, paths, workers=workers, ahead=workers)
    whole: list[str] = []
    with contextlib.closing(descriptions):
        bar = progress(descriptions, desc=f"verifying {path}", total=len(paths), leave=False)
        for name, description in zip(suspects, bar, strict=True):
            if description == files[name]:
                whole.append(name)
            else:
                yield name, "does not have the content it was written with"
    # A store on a medium that cannot be written is verified at every start.
    with contextlib.suppress(OSError):
        remember(path, whole)


def remember(path: Path, names: Iterable[str]) -> None:
    """Notes that these files of a store are whole as they are now."""
    stamps = _read_stamps(path) | {name: _stamp(path / name) for name in names}
    write_atomically(path / VERIFIED, json.dumps(stamps).encode())


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _read_stamps(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return dict(json.loads((path / VERIFIED).read_text()))
    return {}
