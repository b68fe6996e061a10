"""A store: recordings packed once, so that a random crop costs reading that crop.

    DIR/store.json        sampling rate, and size and checksum of every other file; written last
    DIR/part-00000.pcm    16-bit samples (little endian), one utterance after the other
    DIR/part-00000.npy    a row of `utterance_dtype` for each of them
    DIR/part-00000.json   which files they are of; for `audioslots prepare` to continue
    DIR/metadata/         the metadata of LibriMix, copied
    DIR/verified.json     size and date of every file when its checksum was last computed
    DIR/lock              held while `audioslots prepare` writes

`audioslots_jax.data.prepare` writes it. Samples are read with ``preadv`` rather than through a
memory map, so that a process does not grow with what it has read, and a lost disk is an error
instead of a crash.
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
from jaxtyping import Bool, Float32, Int, Int16, Shaped

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
    """A row about an utterance, for names and speakers of up to so many bytes.

    ``name`` is the file's path; ``start`` and ``frames`` are its place in ``part``, in samples;
    ``scale`` the amplitude of one unit, with full scale at 1; ``rms`` and ``peak`` are amplitudes;
    ``loudness`` is in LUFS, NaN where it is not defined.
    """
    return np.dtype(
        [
            ("name", f"S{name}"), ("speaker", f"S{speaker}"), ("part", "<i4"), ("start", "<i8"),
            ("frames", "<i4"), ("scale", "<f4"), ("rms", "<f4"), ("peak", "<f4"),
            ("loudness", "<f4"),
        ]
    )  # fmt: skip


class Store(NamedTuple):
    """An open store.

    Attributes:
      path: its folder.
      sample_rate: of all utterances, in Hz.
      subsets: the folders that divide its names, such as ``train-clean-360``, if any.
      table: a row of `utterance_dtype` for each utterance, in the order of their names.
      samples: where they are read.
    """

    path: Path
    sample_rate: int
    subsets: list[str]
    table: Shaped[np.ndarray, " utterance"]
    samples: "Samples"

    def named(self, names: Sequence[str]) -> "Packed":
        """The utterances of these names; those that are missing are not `present`."""
        wanted = np.array([os.fsencode(name) for name in names])
        places = np.searchsorted(self.table["name"], wanted).clip(max=len(self.table) - 1)
        return self.select(places, self.table["name"][places] == wanted)

    def select(
        self,
        places: Int[np.ndarray, " utterance"],
        present: Bool[np.ndarray, " utterance"] | None = None,
    ) -> "Packed":
        """The utterances in these places of the table."""
        if present is None:
            present = np.ones(len(places), bool)
        return Packed(self.samples, self.table[places], present)


class Packed:
    """Some utterances of a store. See `Utterances` in `audioslots_jax.data.utterances`.

    Attributes:
      speaker: a number for each; utterances of one speaker share it.
      frames, peak, loudness: as in `utterance_dtype`.
    """

    def __init__(
        self,
        samples: "Samples",
        table: Shaped[np.ndarray, " utterance"],
        present: Bool[np.ndarray, " utterance"],
    ):
        """Keeps a few numbers for each utterance, and no names, which are most of a table."""
        self.present = present
        self.speaker = np.unique(table["speaker"], return_inverse=True)[1].astype(np.int32)
        self.frames, self.peak, self.loudness = (
            table[field].copy() for field in ("frames", "peak", "loudness")
        )
        self._samples = samples
        self._part, self._start, self._scale = (
            table[field].copy() for field in ("part", "start", "scale")
        )

    def whole(self, index: int) -> Float32[np.ndarray, " sample"]:
        """See `Utterances`."""
        out = np.empty((1, self.frames[index]), np.float32)
        self.read(np.array([index]), np.array([0]), np.ones(1, np.float32), out)
        return out[0]

    def read(
        self,
        indices: Int[np.ndarray, " crop"],
        starts: Int[np.ndarray, " crop"],
        gains: Float32[np.ndarray, " crop"],
        out: Float32[np.ndarray, "crop sample"],
    ) -> None:
        """See `Utterances`.

        Raises:
          UserError: if a part of the store is lost or cut off.
        """
        samples = out.shape[1]
        counts = np.clip(self.frames[indices] - starts, 0, samples)
        units = np.empty(out.shape, SAMPLE)
        places = zip(
            self._part[indices].tolist(), (self._start[indices] + starts).tolist(),
            counts.tolist(), units, strict=True,
        )  # fmt: skip
        for part, start, count, crop in places:
            self._samples.read(part, start, crop[:count])
            if count < samples:
                crop[count:] = 0
        # The scale is a power of two, so that this rounds just as gain x sample does.
        np.multiply(units, (gains * self._scale[indices])[:, None], out=out)


class Samples:
    """The parts of a store, open for reading by any number of threads."""

    def __init__(self, paths: Sequence[Path]):
        """Opens the parts; they close with the object."""
        self.paths = list(paths)
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        weakref.finalize(self, _close, self._files)

    def read(self, part: int, start: int, out: Int16[np.ndarray, " sample"]) -> None:
        """Fills ``out`` with samples of a part.

        Raises:
          UserError: if they are not there any more.
        """
        try:
            found = os.preadv(self._files[part], [out.data], start * SAMPLE.itemsize)
        except OSError as error:
            raise UserError(f"{self.paths[part]} cannot be read ({error.strerror}).") from None
        if found < out.nbytes:
            raise UserError(f"{self.paths[part]} is cut off; {AGAIN}.")


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)


def is_store(path: Path) -> bool:
    """Whether a folder is a store, or the beginning of one."""
    return (path / INDEX).exists() or any(is_part(found) for found in path.glob("part-*"))


def is_part(path: Path) -> bool:
    """Whether a file is of a part of a store, or the beginning of one."""
    return PART.fullmatch(path.name) is not None and path.is_file()


def open_store(path: Path, sample_rate: int | None = None) -> Store:
    """Opens a store, after a look at every file of it.

    Files whose size and date are as when they were verified are taken to be whole; of others (the
    store was copied, or something wrote into it) the checksum is computed first.

    Args:
      path: its folder.
      sample_rate: what it has to be, in Hz.

    Raises:
      UserError: if the store is unfinished, or a file of it is missing, cut off or damaged, or its
        sampling rate another.
    """
    sealed = read_index(path)
    if sample_rate not in (None, sealed["sample_rate"]):
        raise UserError(
            f"{path} is a store at {sealed['sample_rate']} Hz, and {sample_rate} Hz is needed; "
            f"prepare one with --sample-rate={sample_rate}."
        )
    try:
        for name, problem in damaged(path, sealed["files"]):
            raise UserError(f"the store {path} is damaged: {name} {problem}; {AGAIN}.")
        parts = sorted(name for name in sealed["files"] if name.endswith(".npy"))
        table = np.concatenate([np.load(path / name) for name in parts])
        samples = Samples([(path / name).with_suffix(".pcm") for name in parts])
    except OSError as error:
        raise UserError(
            f"the store {path} cannot be read: {error.filename}: {error.strerror}."
        ) from None
    return Store(path, sealed["sample_rate"], sealed["subsets"], table, samples)


def read_index(path: Path) -> dict[str, Any]:
    """What ``store.json`` says.

    Raises:
      UserError: if there is none, or it is damaged or of another version.
    """
    try:
        sealed = json.loads((path / INDEX).read_text())
        seal = sealed.pop("seal")
    except FileNotFoundError:
        raise UserError(f"{path} is an unfinished store; {AGAIN}.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path / INDEX} is damaged; {AGAIN}.") from None
    if seal != _seal(sealed):
        raise UserError(f"{path / INDEX} is damaged; {AGAIN}.")
    if sealed["format"] != FORMAT:
        raise UserError(
            f"{path} is a store of format {sealed['format']}, and this program reads {FORMAT}; "
            "prepare it again."
        )
    return sealed


def write_index(
    path: Path, sample_rate: int, subsets: Sequence[str], files: Mapping[str, Any]
) -> None:
    """Finishes a store: ``files`` are its files, each as `described`."""
    content = {"format": FORMAT, "sample_rate": sample_rate, "subsets": list(subsets)}
    content["files"] = dict(files)
    text = json.dumps({**content, "seal": _seal(content)}, indent=1)
    write_atomically(path / INDEX, f"{text}\n".encode())


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def described(path: Path) -> dict[str, Any]:
    """Size and checksum of a file."""
    with open(path, "rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": checksum}


def damaged(
    path: Path, files: Mapping[str, Any], *, everything: bool = False
) -> Iterator[tuple[str, str]]:
    """Every damaged file, and what is wrong with it.

    Args:
      path: of the store.
      files: what each should be, as `described`.
      everything: compute all checksums, even of files that have not changed.
    """
    stamps = {} if everything else _read_stamps(path)
    suspects: list[str] = []
    whole: list[str] = []
    for name, expected in files.items():
        try:
            stamp = _stamp(path / name)
        except OSError:
            yield name, "is missing"
            continue
        if stamp[0] != expected["bytes"]:
            yield name, f"has {stamp[0]:,} bytes instead of {expected['bytes']:,}"
        elif stamps.get(name) != stamp:
            suspects.append(name)
    if not suspects:
        return
    total = sum(files[name]["bytes"] for name in suspects)
    workers = os.cpu_count() or 1
    found = ordered_map(
        lambda name: described(path / name), suspects, workers=workers, ahead=workers
    )
    with (
        contextlib.closing(found),
        progress(
            total=total, desc=f"verifying {path}", unit="B", unit_scale=True, leave=False
        ) as bar,
    ):
        for name, description in zip(suspects, found, strict=True):
            bar.update(description["bytes"])
            if description != files[name]:
                yield name, "does not have the content it was written with"
            else:
                whole.append(name)
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
    try:
        stamps = json.loads((path / VERIFIED).read_text())
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}
