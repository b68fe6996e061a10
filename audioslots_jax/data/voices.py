"""Built-in voices: sung vowels, synthesised from an index, for training without any download.

A voice is a singer, addressed by an integer: a register, a timbre and a vibrato. What it sings
(gliding pitch, swelling loudness) is drawn anew for every mixture.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Float32

from audioslots_jax import fields
from audioslots_jax.data.batch import Data, HeldOut, Mixtures, RowByRow, crop_samples
from audioslots_jax.data.draws import random_generator
from audioslots_jax.data.hashing import fingerprint
from audioslots_jax.data.level import decibels
from audioslots_jax.data.noises import held_out_noises, identities
from audioslots_jax.data.recordings import Recording
from audioslots_jax.data.scenes import SceneFields
from audioslots_jax.data.wholes import WHOLE_SECONDS, Wholes, heard_samples, held_out_wholes

# The voices of each part; training draws none of the others.
VALIDATION, TEST, TRAIN = range(1000), range(1000, 2000), range(2000, 2**31)

REGISTER_HZ = (300.0, 1000.0)  # mezzo-soprano to soprano
LOWEST_RATE = 2600  # in Hz: twice what a glide and the vibrato can make of a register
HARMONICS = 4
TIMBRE_DB = 6.0  # harmonic h is 1/h, give or take this much
VIBRATO_HZ = (4.0, 7.0)
VIBRATO_OCTAVES = 0.03
GLIDE_OCTAVES = 4 / 12  # how far a melody strays from the register's centre
NOTE_SECONDS = 0.5
SOFTEST_DB = -14.0  # of a note, re the loudest
LEVELS_DB = (-25.0, -20.0)  # RMS re full scale


@dataclasses.dataclass(frozen=True)
class Voices(RowByRow):
    """Mixtures of different voices at random levels."""

    sample_rate: int  # in Hz; harmonics above its half are left out
    samples: int
    sources: int = 2
    voices: range = TRAIN

    def example(self, seed: int, step: int, row: int) -> Float32[np.ndarray, "source sample"]:
        """Returns the sources of a row; see `RowByRow`."""
        random = random_generator("example", seed, step, row)
        voices: list[int] = []
        while len(voices) < self.sources:
            voice = int(random.integers(self.voices.start, self.voices.stop))
            if voice not in voices:
                voices.append(voice)
        levels = random.uniform(*LEVELS_DB, size=self.sources)
        sung = [sing(voice, self.samples, self.sample_rate, random) for voice in voices]
        return np.stack(
            [decibels(level) * source for level, source in zip(levels, sung, strict=True)]
        ).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class VoicesData(SceneFields):
    """The data set ``voices``, which needs no recordings.

    See `DataSet` and `SceneFields`, whose fields it has.
    """

    sample_rate: int = 8000
    crop_seconds: float = 0.5
    sources: int = 2
    workers: int = 1

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from fields.positive(self, "sample_rate", "crop_seconds", "workers")
        if self.sources < 2:
            yield "sources", "must be at least 2"
        if self.sample_rate < LOWEST_RATE:
            yield "sample_rate", f"must be at least {LOWEST_RATE}, for all voices to be heard"
        yield from self.scene_problems()

    def open(self, held_out: HeldOut | None = None) -> Data:
        """Returns the data; which voices are held out is the same in every run."""
        samples, noises = crop_samples(self), self.open_noises(self.sample_rate)
        train = self._mixtures(TRAIN, samples, noises.get("train", ()))
        validation, wholes = (
            self._mixtures(VALIDATION, length, noises.get("validation", ()))
            for length in (samples, heard_samples(samples, self.sample_rate))
        )
        identity = f"from voice {TRAIN.start}"
        if noises:
            identity += f", noise {fingerprint(identities(noises))}"
        return Data(train, validation, held_out_noises(noises), identity, wholes)

    def open_test(self, held_out: HeldOut, count: int) -> Wholes:
        """Returns whole mixtures of voices that are drawn for nothing else."""
        noises = self.open_noises(self.sample_rate).get("test", ())
        mixtures = self._mixtures(TEST, round(WHOLE_SECONDS * self.sample_rate), noises)
        return held_out_wholes(mixtures, "voices", count)

    def _mixtures(self, voices: range, samples: int, noises: Sequence[Recording]) -> Mixtures:
        form = {"sample_rate": self.sample_rate, "samples": samples, "sources": self.sources}
        return self.scenes(Voices(voices=voices, **form), self.sample_rate, noises)


def sing(
    index: int, samples: int, sample_rate: int, random: np.random.Generator
) -> Float[np.ndarray, " sample"]:
    """Returns a melody of voice ``index``, with an RMS of 1."""
    voice = random_generator("voice", index)
    ripple = voice.uniform(-TIMBRE_DB, TIMBRE_DB, HARMONICS)
    harmonics = 10 ** (ripple / 20) / np.arange(1, HARMONICS + 1)
    register = float(np.exp(voice.uniform(*np.log(REGISTER_HZ))))
    vibrato_hz, vibrato_octaves = voice.uniform(*VIBRATO_HZ), voice.uniform(0, VIBRATO_OCTAVES)
    seconds = np.arange(samples) / sample_rate
    melody = _glide(seconds, random, -GLIDE_OCTAVES, GLIDE_OCTAVES)
    vibrato = np.sin(2 * np.pi * (vibrato_hz * seconds + random.uniform()))
    pitch = register * 2 ** (melody + vibrato_octaves * vibrato)
    phase = 2 * np.pi * (np.cumsum(pitch) / sample_rate + random.uniform())
    audio = np.zeros(samples)
    for number, amplitude in enumerate(harmonics, start=1):
        audio += amplitude * np.sin(number * phase) * (number * pitch < sample_rate / 2)
    audio *= decibels(1.0) ** _glide(seconds, random, SOFTEST_DB, 0.0)
    return audio / np.sqrt(np.mean(np.square(audio)))


def _glide(
    seconds: np.ndarray, random: np.random.Generator, low: float, high: float
) -> Float[np.ndarray, " sample"]:
    """Returns a smooth walk between levels drawn uniformly, a new one every `NOTE_SECONDS`."""
    notes = seconds / NOTE_SECONDS + random.uniform()
    levels = random.uniform(low, high, int(notes[-1]) + 2)
    before = notes.astype(int)
    # A raised cosine from level to level has no corners, which would click.
    weight = 0.5 - 0.5 * np.cos(np.pi * (notes - before))
    return levels[before] * (1 - weight) + levels[before + 1] * weight
