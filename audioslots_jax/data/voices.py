"""Built-in voices: sung vowels, synthesised from an index, for training without any download.

A voice is a singer, addressed by an integer: a register, a timbre and a vibrato. Voices below
`HELD_OUT` are for evaluation and training never draws them. What a voice sings (gliding pitch,
swelling loudness) is drawn anew for every mixture.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32

from audioslots_jax.data.mixtures import RowByRow, decibels, random_generator

HELD_OUT = 1000
VOICES = 2**31

REGISTER_HZ = (300.0, 1000.0)  # mezzo-soprano to soprano
HARMONICS = 4
TIMBRE_DB = 6.0  # harmonic h is 1/h, give or take this much
VIBRATO_HZ = (4.0, 7.0)
VIBRATO_OCTAVES = 0.03
GLIDE_OCTAVES = 4 / 12  # how far a melody strays from the register's centre
NOTE_SECONDS = 0.5
SOFTEST_DB = -14.0  # of a note, re the loudest
LEVELS_DB = (-25.0, -20.0)  # RMS re full scale


class Voices(RowByRow):
    """Mixtures of different voices at random levels."""

    def __init__(self, *, sample_rate: int, samples: int, sources: int = 2, held_out: bool = False):
        """Args:
        sample_rate: in Hz; harmonics above its half are left out.
        samples: length of the mixtures.
        sources: voices per mixture.
        held_out: draw from voices ``0 .. HELD_OUT - 1`` instead of from all the others.
        """
        self.sample_rate, self.samples, self.sources = sample_rate, samples, sources
        self.range = (0, HELD_OUT) if held_out else (HELD_OUT, VOICES)

    def example(self, seed: int, step: int, row: int) -> Float32[np.ndarray, "source sample"]:
        """See `RowByRow`."""
        random = random_generator("example", seed, step, row)
        voices: list[int] = []
        while len(voices) < self.sources:
            voice = int(random.integers(*self.range))
            if voice not in voices:
                voices.append(voice)
        levels = random.uniform(*LEVELS_DB, size=self.sources)
        sung = [sing(voice, self.samples, self.sample_rate, random) for voice in voices]
        return np.stack(
            [decibels(level) * source for level, source in zip(levels, sung, strict=True)]
        ).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Voice:
    """A singer: register in Hz, amplitude of each harmonic, vibrato in Hz and octaves."""

    register: float
    harmonics: np.ndarray
    vibrato_rate: float
    vibrato_depth: float

    @classmethod
    def of(cls, index: int) -> "Voice":
        """The voice with this index."""
        random = random_generator("voice", index)
        ripple = random.uniform(-TIMBRE_DB, TIMBRE_DB, HARMONICS)
        return cls(
            register=float(np.exp(random.uniform(*np.log(REGISTER_HZ)))),
            harmonics=10 ** (ripple / 20) / np.arange(1, HARMONICS + 1),
            vibrato_rate=random.uniform(*VIBRATO_HZ),
            vibrato_depth=random.uniform(0, VIBRATO_OCTAVES),
        )


def sing(
    index: int, samples: int, sample_rate: int, random: np.random.Generator
) -> Float[np.ndarray, " sample"]:
    """A melody of voice ``index``, with an RMS of 1."""
    voice = Voice.of(index)
    seconds = np.arange(samples) / sample_rate
    melody = _glide(seconds, random, -GLIDE_OCTAVES, GLIDE_OCTAVES)
    vibrato = np.sin(2 * np.pi * (voice.vibrato_rate * seconds + random.uniform()))
    pitch = voice.register * 2 ** (melody + voice.vibrato_depth * vibrato)
    phase = 2 * np.pi * (np.cumsum(pitch) / sample_rate + random.uniform())
    audio = np.zeros(samples)
    for number, amplitude in enumerate(voice.harmonics, start=1):
        audio += amplitude * np.sin(number * phase) * (number * pitch < sample_rate / 2)
    audio *= decibels(1.0) ** _glide(seconds, random, SOFTEST_DB, 0.0)
    return audio / np.sqrt(np.mean(np.square(audio)))


def _glide(
    seconds: np.ndarray, random: np.random.Generator, low: float, high: float
) -> Float[np.ndarray, " sample"]:
    """A smooth walk between levels drawn uniformly, a new one every `NOTE_SECONDS`."""
    place = seconds / NOTE_SECONDS + random.uniform()
    levels = random.uniform(low, high, int(place[-1]) + 2)
    before = place.astype(int)
    # A raised cosine from level to level has no corners, which would click.
    way = 0.5 - 0.5 * np.cos(np.pi * (place - before))
    return levels[before] * (1 - way) + levels[before + 1] * way
