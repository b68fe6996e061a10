"""Recordings of noise in a folder: which of them a training may hear, and crops of them.

Which are held out depends on the hash of a recording's name below the folder, as for speakers.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audioslots_jax import fields
from audioslots_jax.data.batch import HeldOut
from audioslots_jax.data.hashing import divide
from audioslots_jax.data.recordings import LostRecordingError, Recording, read_crop, scan_files
from audioslots_jax.errors import UserError

# Where the hashes of validation, test and training end.
SIDES = {"validation": 0.05, "test": 0.1, "train": 1.0}

Noises = Mapping[str, Sequence[Recording]]  # by side


def open_noises(root: str, sample_rate: int) -> Noises:
    """Returns the recordings of a folder by side, and prints what they are.

    Raises:
      UserError: if there is no such folder, or too few in it for all sides.
    """
    field = "data.noise_root"
    fields.require(root, field, root, "must name a folder of noise: --config.data.noise_root=DIR")
    named, summary = scan_files(Path(root).expanduser(), field=field, sample_rate=sample_rate)
    if len(named) < len(SIDES):
        raise UserError(
            f"{field}: {summary} That is too few, for one at least is held out for validation and "
            "one for the test; add recordings."
        )
    groups, _ = divide(named, list(SIDES.values()), 1)
    validation, test, _ = map(len, groups)
    print(f"noise: {summary} {validation} held out for validation, {test} for the test.")
    return {side: [named[x] for x in names] for side, names in zip(SIDES, groups, strict=True)}


def identities(noises: Noises) -> Iterator[tuple[str, ...]]:
    """Yields what a fingerprint has to change with."""
    for side, recordings in noises.items():
        for one in recordings:
            yield "noise", side, one.path.name, str(one.frames), str(one.sample_rate)


def held_out_noises(noises: Noises) -> HeldOut:
    """Returns the names of the recordings that are not trained on, where there are any."""
    return {
        f"{side}_noise": sorted(one.path.name for one in recordings)
        for side, recordings in noises.items()
        if side != "train"
    }


def crop_noise(
    recordings: Sequence[Recording], samples: int, sample_rate: int, random: np.random.Generator
) -> Float32[np.ndarray, " sample"]:
    """Returns a random crop of one of the recordings.

    One that cannot be read any more gives way to the next, and one that is shorter than the crop
    is followed by the next ones; see `read_crop`.
    """
    first, position = int(random.integers(len(recordings))), float(random.uniform())
    rest = [*recordings[first:], *recordings[:first]]
    while rest:
        try:
            return read_crop(rest, position, samples, sample_rate)
        except LostRecordingError as lost:
            warnings.warn(f"{lost} cannot be read; another takes its place.", stacklevel=2)
            rest = [recording for recording in rest if recording.path != lost.args[0]]
    raise UserError(
        "data.noise_root: none of the recordings can be read any more; check the files, and the "
        "same command continues from its checkpoint."
    )
