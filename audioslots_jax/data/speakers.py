"""Mixtures of recordings in a folder per speaker: ``ROOT/<speaker>/**/*.{wav,flac,ogg,...}``.

Who is held out depends on the hash of the speaker's name alone, whatever the length of a crop and
of the recordings: a run that remembers its division never scores a speaker it was trained on.
"""

import dataclasses
import functools
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import soxr
from jaxtyping import Float32

from audioslots_jax import fields
from audioslots_jax.data.batch import Data, HeldOut, Mixtures, RowByRow, crop_samples
from audioslots_jax.data.draws import random_generator
from audioslots_jax.data.hashing import divide, fingerprint
from audioslots_jax.data.level import decibels, rms
from audioslots_jax.data.noises import held_out_noises, identities
from audioslots_jax.data.recordings import (
    LostRecordingError,
    Recording,
    Recordings,
    read_crop,
    scan,
    some,
    subsets,
)
from audioslots_jax.data.scenes import SceneFields
from audioslots_jax.data.sexes import nearest_lists
from audioslots_jax.data.wholes import WHOLE_SECONDS, Wholes, heard_samples, held_out_wholes
from audioslots_jax.errors import UserError

LEVELS_DB = (-33.0, -25.0)  # RMS of a recording re full scale; LibriMix's range, which is in LUFS
ACTIVE_DB = -15.0  # a crop this far below its recording holds a pause rather than speech
ACTIVE_TRIES = 100
HELD_OUT = ("validation", "test")
SIDES = (*HELD_OUT, "train")
# Where the hashes of the sides that share a folder end: of all three, and of those held out.
EDGES = {3: (0.05, 0.1, 1.0), 2: (0.5, 1.0), 1: (1.0,)}


@dataclasses.dataclass(frozen=True, eq=False)
class Speakers(RowByRow):
    """Random crops of recordings of different speakers, at random levels.

    Each source is one speaker's: a recording, a crop and a level are drawn uniformly. The level is
    that of the whole recording, so a crop may hold a pause, as a part of a conversation does. A
    recording that is shorter than a crop goes on with the speaker's next ones; see `read_crop`.
    For scores, which silence leaves undefined, crops are ``active``: those of pauses are redrawn.

    Each source is up to ``speed`` faster or slower than it was recorded, and so much higher or
    lower: more voices than there are speakers (Ko et al. 2015, "Audio augmentation for speech
    recognition").
    """

    recordings: Mapping[str, Sequence[Recording]]  # by speaker; at least as many as sources
    sample_rate: int
    samples: int
    sources: int = 2
    active: bool = False
    speed: float = 0.0

    def example(self, seed: int, step: int, row: int) -> Float32[np.ndarray, "source sample"]:
        """Returns the sources of a row; files that cannot be read are replaced by the next ones."""
        chosen, random = self._chosen(seed, step, row)
        return np.stack([self._source(self.recordings[name], random) for name in chosen])

    def names(self, seed: int, step: int, row: int, batch_size: int) -> tuple[str, ...]:
        """Returns the speakers of a row; see `Named`."""
        return self._chosen(seed, step, row)[0]

    def _chosen(
        self, seed: int, step: int, row: int
    ) -> tuple[tuple[str, ...], np.random.Generator]:
        """Returns the speakers of a row, and what the rest of it is drawn with."""
        random = random_generator("example", seed, step, row)
        speakers = list(self.recordings)
        chosen = random.choice(len(speakers), self.sources, replace=False)
        return tuple(speakers[i] for i in chosen), random

    def _source(
        self, recordings: Sequence[Recording], random: np.random.Generator
    ) -> Float32[np.ndarray, " sample"]:
        level = random.uniform(*LEVELS_DB)
        first = int(random.integers(len(recordings)))
        positions = random.uniform(size=ACTIVE_TRIES if self.active else 1)
        factor = random.uniform(1 - self.speed, 1 + self.speed) if self.speed else 1.0
        rest = [*recordings[first:], *recordings[:first]]
        while rest:
            try:
                crop = faster(
                    self._crop(rest, positions, round(self.samples * factor)), self.samples
                )
            except LostRecordingError as lost:
                message = f"{lost} cannot be read; another of the same speaker takes its place."
                warnings.warn(message, stacklevel=2)
                rest = [recording for recording in rest if recording.path != lost.args[0]]
                continue
            if crop.any() or not self.active:
                return crop * decibels(level)
            rest = rest[1:]
        raise UserError(
            f"none of the {len(recordings)} recordings beside {recordings[0].path} has a crop that "
            "can be used; check the files, and the same command continues from its checkpoint."
        )

    def _crop(
        self, recordings: Sequence[Recording], positions: np.ndarray, samples: int
    ) -> Float32[np.ndarray, " sample"]:
        """Returns the crop at the first of the positions with speech in it, or the loudest."""
        if sum(recording.samples(self.sample_rate) for recording in recordings) <= samples:
            positions = positions[:1]  # there is one crop: all of them
        loudest, highest = np.zeros(samples, np.float32), -1.0
        for position in positions:
            crop = read_crop(recordings, position, samples, self.sample_rate)
            level = rms(crop)
            if level > highest:
                loudest, highest = crop, level
            if level >= decibels(ACTIVE_DB):
                break
        return loudest


def faster(crop: Float32[np.ndarray, " sample"], samples: int) -> Float32[np.ndarray, " {samples}"]:
    """Returns a crop in ``samples`` samples: faster and higher, or slower and lower."""
    if len(crop) == samples:
        return crop
    resampled = soxr.resample(crop, len(crop), samples)[:samples]
    return np.pad(resampled, (0, samples - len(resampled)))


@dataclasses.dataclass(frozen=True)
class SpeakersData(SceneFields):
    """The data set ``speakers``: recordings of one's own.

    For other fields see `DataSet` and `SceneFields`.

    Attributes:
      root: holds a folder per speaker, or ``train/``, ``dev/`` and perhaps ``test/`` with a folder
        per speaker each; or a store that was made of such a folder. Several are given as ``A,B``:
        if any of them is divided, the speakers of those that are not are all trained on.
      eval_root: holds other speakers to hold out, in place of some of ``root``.
      speed: share by which voices that are trained on may be faster or slower; see `Speakers`.
    """

    root: str = ""
    eval_root: str = ""
    sources: int = 2
    sample_rate: int = 8000
    crop_seconds: float = 0.5
    workers: int = 1
    speed: float = 0.0

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from fields.positive(self, "sample_rate", "crop_seconds", "workers")
        if self.sources < 2:
            yield "sources", "must be at least 2"
        if not 0 <= self.speed <= 0.5:
            yield "speed", "must be from 0 to 0.5"
        yield from self.scene_problems()

    def open(self, held_out: HeldOut | None = None) -> Data:
        """Returns the data, and prints what it is and what had to be left out; see `DataSet`."""
        sides, noises = self._sides(held_out), self.open_noises(self.sample_rate)
        identity = (
            (side, speaker, one.path.name, one.frames, one.sample_rate)
            for side, recordings in sides.items()
            for speaker, of_speaker in recordings.items()
            for one in of_speaker
        )
        samples = crop_samples(self)
        validation, wholes = (
            self._mixtures(sides["validation"], length, noises.get("validation", ()), active=True)
            for length in (samples, heard_samples(samples, self.sample_rate))
        )
        return Data(
            self._mixtures(sides["train"], samples, noises.get("train", ()), active=False),
            validation,
            {**{side: sorted(sides[side]) for side in HELD_OUT}, **held_out_noises(noises)},
            fingerprint(itertools.chain(identity, identities(noises))),
            wholes,
            nearest_lists({name: of[0].path for name, of in sides["validation"].items()}),
        )

    def open_test(self, held_out: HeldOut, count: int) -> Wholes:
        """Returns whole mixtures of the speakers who are held out for the test; see `open`."""
        if not held_out:
            raise UserError(
                "the run does not remember which speakers it was not trained on; train it again to "
                "score it."
            )
        test, samples = self._sides(held_out)["test"], round(WHOLE_SECONDS * self.sample_rate)
        noises = self.open_noises(self.sample_rate).get("test", ())
        mixtures = self._mixtures(test, samples, noises, active=True)
        return held_out_wholes(mixtures, "speakers", count)

    def _mixtures(
        self, recordings: Recordings, samples: int, noises: Sequence[Recording], *, active: bool
    ) -> Mixtures:
        form = {"sample_rate": self.sample_rate, "samples": samples, "sources": self.sources}
        speed = 0.0 if active else self.speed
        speakers = Speakers(recordings, active=active, speed=speed, **form)
        return self.scenes(speakers, self.sample_rate, noises)

    def _sides(self, held_out: HeldOut | None) -> dict[str, Recordings]:
        """Returns the recordings of each of `SIDES` by speaker, and prints who is held out."""
        sides: dict[str, Recordings] = {}
        note = ""
        for folder, sharing, recordings in self._folders:
            if held_out:
                groups = remembered(recordings.keys(), sharing, held_out, folder)
            else:
                groups, by_hash = divide(recordings, EDGES[len(sharing)], self.sources)
                if not by_hash:
                    note = "; their hashes chose too few, so the next ones were added"
            if min(map(len, groups)) < self.sources:
                raise UserError(
                    f"{folder} has usable recordings of {len(recordings)} speakers, too few for "
                    f"{' and '.join(sharing)}, of which each needs {self.sources} different ones "
                    "(data.sources); add speakers, or name a folder of others in data.eval_root."
                )
            for side, names in zip(sharing, groups, strict=True):
                sides[side] = {name: recordings[name] for name in names}
        validation, test = (some(sorted(sides[side])) for side in HELD_OUT)
        print(f"held out: speakers {validation} for validation, {test} for the test{note}.")
        refuse_shared(sides, by_name=not self.eval_root)
        return sides

    @functools.cached_property
    def _folders(self) -> list[tuple[str, tuple[str, ...], Recordings]]:
        """Folders with the sides that divide them and their recordings, which may take minutes."""
        fields.require(
            self.root, "data.root", self.root, "must name a folder: --config.data.root=DIR"
        )
        scanned = []
        for paths, sharing in self._layout():
            field = "data.eval_root" if self.eval_root and sharing == HELD_OUT else "data.root"
            joined: Recordings = {}
            for path in paths:
                recordings, summary = scan(path, field=field, sample_rate=self.sample_rate)
                print(summary)
                if both := sorted(joined.keys() & recordings.keys()):
                    raise UserError(
                        f"{field}: {some(both)} is a speaker in {path} and in another folder; "
                        "rename one folder, or move the recordings together if it is one person."
                    )
                joined |= recordings
            scanned.append((" and ".join(map(str, paths)), sharing, joined))
        return scanned

    def _layout(self) -> list[tuple[list[Path], tuple[str, ...]]]:
        """Returns the folders that hold speakers, with the sides that divide these."""
        whole = Path(self.root).expanduser()
        names = [name.strip() for name in self.root.split(",")]
        fields.require(all(names), "data.root", self.root, "must name folders, divided by commas")
        roots = [whole] if whole.is_dir() else [Path(name).expanduser() for name in names]
        own = {root: subsets(root) for root in roots}
        train = [root / "train" if own[root] else root for root in roots]
        if self.eval_root:
            return [(train, ("train",)), ([Path(self.eval_root).expanduser()], HELD_OUT)]
        if not any(own.values()):
            return [(roots, SIDES)]
        dev = [root / "dev" for root in roots if own[root]]
        test = [root / "test" for root in roots if "test" in own[root]]
        if test:
            return [(train, ("train",)), (dev, ("validation",)), (test, ("test",))]
        return [(train, ("train",)), (dev, HELD_OUT)]


def remembered(
    speakers: Set[str], sharing: Sequence[str], held_out: HeldOut, folder: str
) -> list[list[str]]:
    """Returns the speakers of the sides that share a folder, where a run has held out some."""
    groups = {side: list(held_out[side]) for side in sharing if side != "train"}
    kept = set().union(*groups.values())
    if missing := sorted(kept - speakers):
        raise UserError(
            f"{folder} has no usable recordings of {some(missing)}, held out from this run's "
            "training; put them back."
        )
    return [groups.get(side, sorted(speakers - kept)) for side in sharing]


def refuse_shared(sides: Mapping[str, Recordings], *, by_name: bool) -> None:
    """Raises a `UserError` if a recording, or a speaker's name, is on more than one side."""
    for one, other in itertools.combinations(SIDES, 2):
        paths, others = (
            {recording.path.resolve() for each in sides[side].values() for recording in each}
            for side in (one, other)
        )
        names = sorted(sides[one].keys() & sides[other].keys()) if by_name else []
        if shared := names or sorted(map(str, paths & others)):
            raise UserError(
                f"data.root: {some(shared)} would be both in {one} and in {other}; everybody must "
                "be in one alone: rename another speaker of the same name, or remove one folder."
            )
