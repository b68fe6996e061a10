"""Scenes: mixtures in which a source may be absent or pause, with noise that belongs to nobody.

What a scene changes is drawn apart from the sources, so that these are the same with and without.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32

from audioslots_jax.data.batch import Batch, Mixtures, RowByRow
from audioslots_jax.data.draws import random_generator
from audioslots_jax.data.level import decibels, rms
from audioslots_jax.data.noises import Noises, crop_noise, open_noises
from audioslots_jax.data.recordings import Recording

FADE_SECONDS = 0.01  # in which a voice begins or ends
SHORTEST = 0.25  # of a crop: the least that a voice that pauses is heard
LEAST_LEFT = 0.1  # of a voice's RMS that a pause has to leave
BETWEEN = 0.3  # probability that a voice that pauses is heard before and after
HUM_HZ = (50.0, 60.0)
BABBLE = 3  # examples that make it
RECORDED = "recorded"
BEYOND = 2**20  # rows of a batch
# The loudest noise without a voice: RMS re full scale. Recordings are brought to one level before a
# model hears them, so noise alone may be as loud as voices are.
LEVEL_DB = -26.0
NOTES, OVERTONES = 4, 8  # of a chord, at most
LOWEST_HZ, OCTAVES = 55.0, 4.0  # of its root
CHORD_SECONDS = (0.2, 2.0)
STEADY = 0.3  # probability that one chord is all that is heard

Noise = Callable[[int, int, np.random.Generator], Float[np.ndarray, " sample"]]


@dataclasses.dataclass(frozen=True)
class SceneFields:
    """Fields of a data set's section.

    Attributes:
      absent: probability that a source is not there at all.
      pauses: probability that a source that is there begins late, ends early or pauses.
      noise: kinds of noise, divided by commas, of which each mixture gets one: white, pink, hum,
        chords, babble (of other sources) or recorded (in ``noise_root``); none where it is empty.
      noise_root: a folder of recordings of noise, or a store that was made of one.
      noise_low_db, noise_high_db: range of the level of the sources together over the noise's.
        Where no source is there, noise has `LEVEL_DB` at most, and less by the same range.
    """

    absent: float = 0.0
    pauses: float = 0.0
    noise: str = ""
    noise_root: str = ""
    noise_low_db: float = 0.0
    noise_high_db: float = 20.0

    @property
    def noises(self) -> list[str]:
        """The kinds of noise."""
        return [name.strip() for name in self.noise.split(",") if name.strip()]

    @property
    def plain(self) -> bool:
        """Whether nothing is changed."""
        return not (self.absent or self.pauses or self.noises)

    def scene_problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        for name in ("absent", "pauses"):
            if not 0 <= getattr(self, name) < 1:
                yield name, "must be from 0 to below 1"
        if set(self.noises) - {*NOISES, "babble", RECORDED}:
            names = ", ".join((*NOISES, "babble", RECORDED))
            yield "noise", f"must name some of {names}, divided by commas"
        if self.noise_root and RECORDED not in self.noises:
            yield "noise_root", f"is of no use without {RECORDED} in data.noise"
        if self.noise_low_db > self.noise_high_db:
            yield "noise_low_db", f"must not be above noise_high_db ({self.noise_high_db:g})"

    def open_noises(self, sample_rate: int) -> Noises:
        """Returns the recordings of noise by side, which is none if none are asked for."""
        return open_noises(self.noise_root, sample_rate) if RECORDED in self.noises else {}

    def scenes(
        self, mixtures: RowByRow, sample_rate: int, recorded: Sequence[Recording] = ()
    ) -> Mixtures:
        """Returns the mixtures with what is changed, if anything is."""
        return mixtures if self.plain else Scenes(mixtures, self, sample_rate, recorded)


@dataclasses.dataclass(frozen=True, eq=False)
class Scenes:
    """Mixtures of sources of which some are absent or pause, and noise; see `Mixtures`.

    Attributes:
      sounds: where the sources come from.
      fields: what is changed.
      sample_rate: in Hz.
      recorded: noise, if the fields ask for it.
    """

    sounds: RowByRow
    fields: SceneFields
    sample_rate: int
    recorded: Sequence[Recording] = ()

    def batch(self, seed: int, step: int, rows: range, batch_size: int) -> Batch:
        """Returns rows of the batch of a step; see `Mixtures`."""
        made = [self._row(seed, step, row) for row in rows]
        mixtures, sources, present = (np.stack(parts) for parts in zip(*made, strict=True))
        return Batch(mixtures, sources, present)

    def names(self, seed: int, step: int, row: int, batch_size: int) -> tuple[str, ...]:
        """Returns who the sources of a row are, were they present; see `Named`."""
        return self.sounds.names(seed, step, row, batch_size)

    def _row(
        self, seed: int, step: int, row: int
    ) -> tuple[
        Float32[np.ndarray, " sample"],
        Float32[np.ndarray, "source sample"],
        Bool[np.ndarray, " source"],
    ]:
        random = random_generator("scene", seed, step, row)
        sources = np.array(self.sounds.example(seed, step, row))
        count, samples = sources.shape
        # As many draws whatever the fields, so that each field changes one thing.
        present = np.greater_equal(random.uniform(size=count), self.fields.absent)
        paused = np.less(random.uniform(size=count), self.fields.pauses)
        bounds = random.uniform(size=(count, 2))
        drawn = random_generator("pause", seed, step, row).uniform(size=count)
        between = np.less(drawn, BETWEEN)
        for number in np.flatnonzero(paused):
            first, second = map(float, bounds[number])
            if between[number]:
                shorter = first * (1 - 2 * SHORTEST) / (1 - SHORTEST)  # of silence
                heard = 1 - activity(samples, shorter, second, self.sample_rate)
            else:
                heard = activity(samples, first, second, self.sample_rate)
            part = sources[number] * heard
            # What is left may be a pause already; then the voice does not make another.
            if rms(part) > LEAST_LEFT * rms(sources[number]):
                sources[number] = part
        sources = np.where(present[:, None], sources, 0).astype(np.float32)
        mixture = sources.sum(axis=0)
        if self.fields.noises:
            mixture = mixture + self._noise(mixture, seed, step, row, random)
        return mixture, sources, present

    def _noise(
        self,
        voices: Float32[np.ndarray, " sample"],
        seed: int,
        step: int,
        row: int,
        random: np.random.Generator,
    ) -> Float32[np.ndarray, " sample"]:
        kind = self.fields.noises[random.integers(len(self.fields.noises))]
        above = random.uniform(self.fields.noise_low_db, self.fields.noise_high_db)
        if kind == "babble":
            # Examples of rows that no batch has.
            others = (
                self.sounds.example(seed, step, row + BEYOND * i) for i in range(1, BABBLE + 1)
            )
            noise = sum(example.sum(axis=0) for example in others)
        elif kind == RECORDED:
            noise = crop_noise(self.recorded, len(voices), self.sample_rate, random)
        else:
            noise = NOISES[kind](len(voices), self.sample_rate, random)
        loudest = decibels(LEVEL_DB + self.fields.noise_low_db)
        level = (rms(voices) or loudest) * decibels(-above)
        scaled: np.ndarray = noise * level / max(rms(noise), 1e-12)
        return scaled.astype(np.float32)


def activity(
    samples: int, first: float, second: float, sample_rate: int
) -> Float[np.ndarray, " sample"]:
    """Returns 1 in a part of a crop and 0 elsewhere, with short fades.

    Two numbers from 0 to 1 say how long it is, from `SHORTEST` of the crop on, and where it begins.
    """
    length = (SHORTEST + (1 - SHORTEST) * first) * samples
    # It may reach beyond both ends, so that a voice may begin late or end early.
    begin = second * (samples + length) - length
    begin = np.clip(begin, SHORTEST * samples - length, (1 - SHORTEST) * samples)
    centres, fade = np.arange(samples) + 0.5, FADE_SECONDS * sample_rate
    rising, falling = (centres - begin) / fade, (begin + length - centres) / fade
    level: np.ndarray = np.clip(np.minimum(rising, falling), 0.0, 1.0)
    return level


def white(
    samples: int, sample_rate: int, random: np.random.Generator
) -> Float[np.ndarray, " sample"]:
    """Returns white noise."""
    return random.normal(size=samples)


def pink(
    samples: int, sample_rate: int, random: np.random.Generator
) -> Float[np.ndarray, " sample"]:
    """Returns noise whose power falls with the frequency."""
    spectrum = np.fft.rfft(random.normal(size=samples))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), samples)


def hum(
    samples: int, sample_rate: int, random: np.random.Generator
) -> Float[np.ndarray, " sample"]:
    """Returns the mains: a tone, and overtones of random strength."""
    tone = HUM_HZ[random.integers(len(HUM_HZ))]
    seconds = np.arange(samples) / sample_rate
    phases, strengths = random.uniform(size=(2, 8))
    numbers = np.arange(1, 9)
    waves = np.sin(2 * np.pi * (tone * numbers[:, None] * seconds + phases[:, None]))
    made: np.ndarray = (strengths / numbers) @ waves
    return made


def chords(
    samples: int, sample_rate: int, random: np.random.Generator
) -> Float[np.ndarray, " sample"]:
    """Returns tones as in music, some at once: one chord that lasts, or one after the other."""
    made, begin = np.zeros(samples), 0
    steady = random.uniform() < STEADY
    while begin < samples:
        count = samples if steady else round(random.uniform(*CHORD_SECONDS) * sample_rate)
        seconds = np.arange(min(count, samples - begin)) / sample_rate
        root = LOWEST_HZ * 2 ** random.uniform(0, OCTAVES)
        semitones = random.integers(0, 25, size=random.integers(1, NOTES + 1))
        numbers = np.arange(1, random.integers(1, OVERTONES + 1) + 1)
        strengths = numbers ** -random.uniform(0.5, 2.0)
        hertz = (root * 2 ** (semitones / 12))[:, None] * numbers
        phases = random.uniform(0, 2 * np.pi, size=hertz.shape)
        waves = np.sin(2 * np.pi * hertz[..., None] * seconds + phases[..., None])
        heard = strengths * (hertz < sample_rate / 2)
        fade = np.minimum(seconds, seconds[::-1]) / FADE_SECONDS
        made[begin : begin + len(seconds)] = np.minimum(fade, 1) * np.einsum(
            "no,nos->s", heard, waves
        )
        begin += len(seconds)
    return made


NOISES: Mapping[str, Noise] = {"white": white, "pink": pink, "hum": hum, "chords": chords}
