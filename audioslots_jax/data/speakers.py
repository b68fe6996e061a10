"""Mixtures of recordings in a folder per speaker: ``ROOT/<speaker>/**/*.{wav,flac,ogg,...}``."""

import warnings
from collections.abc import Sequence

import numpy as np
import soundfile
from jaxtyping import Float32

from audioslots_jax.data.mixtures import RowByRow, decibels, random_generator
from audioslots_jax.data.recordings import Recording, read_crop
from audioslots_jax.errors import UserError

LEVELS_DB = (-33.0, -25.0)  # RMS of a recording re full scale; LibriMix's range, which is in LUFS
ACTIVE_DB = -15.0  # a crop this far below its recording holds a pause rather than speech
ACTIVE_TRIES = 100
HELD_OUT_SHARE = 0.1


class Speakers(RowByRow):
    """Random crops of recordings of different speakers, at random levels.

    Each source is one speaker's: a recording, a crop and a level are drawn uniformly. The level is
    that of the whole recording, so a crop may hold a pause, as a piece of a conversation does.
    """

    def __init__(
        self,
        recordings: dict[str, list[Recording]],
        *,
        sample_rate: int,
        samples: int,
        sources: int = 2,
        active: bool = False,
    ):
        """Args:
        recordings: by speaker, as `scan` gives them; at least ``sources`` speakers.
        sample_rate: of the crops, in Hz.
        samples: length of the crops.
        sources: speakers per mixture.
        active: draw crops again that hold a pause; for scores, which silence would leave
          undefined.
        """
        self.recordings = [recordings[name] for name in sorted(recordings)]
        self.sample_rate, self.samples, self.sources = sample_rate, samples, sources
        self.active = active

    def example(self, seed: int, step: int, row: int) -> Float32[np.ndarray, "source sample"]:
        """See `RowByRow`; unreadable files are replaced by the speaker's next one."""
        random = random_generator("example", seed, step, row)
        speakers = random.choice(len(self.recordings), self.sources, replace=False)
        return np.stack([self._source(self.recordings[i], random) for i in speakers])

    def _source(self, recordings: Sequence[Recording], random: np.random.Generator) -> np.ndarray:
        level = random.uniform(*LEVELS_DB)
        first = int(random.integers(len(recordings)))
        places = random.uniform(size=ACTIVE_TRIES if self.active else 1)
        for turn in range(len(recordings)):
            recording = recordings[(first + turn) % len(recordings)]
            try:
                crop = self._crop(recording, places)
            except (soundfile.SoundFileError, OSError):
                warnings.warn(
                    f"{recording.path} could be read when training started and cannot be now; "
                    "another recording of the same speaker takes its place.",
                    stacklevel=2,
                )
                continue
            if self.active and not np.any(crop):
                continue
            return (crop * (decibels(level) / recording.rms)).astype(np.float32)
        raise UserError(
            f"none of the {len(recordings)} recordings beside {recordings[0].path} has a crop that "
            "can be used; check the files, and the same command continues from its checkpoint."
        )

    def _crop(self, recording: Recording, places: np.ndarray) -> np.ndarray:
        """The first of the places with speech in it, or the loudest."""
        loudest, loudest_rms = np.zeros(self.samples, np.float32), -1.0
        for place in places:
            crop = read_crop(recording, place, self.samples, self.sample_rate)
            rms = float(np.sqrt(np.mean(np.square(crop, dtype=np.float64))))
            if rms > loudest_rms:
                loudest, loudest_rms = crop, rms
            if rms >= recording.rms * decibels(ACTIVE_DB):
                break
        return loudest


def hold_out(
    recordings: dict[str, list[Recording]], sources: int
) -> tuple[dict[str, list[Recording]], dict[str, list[Recording]]]:
    """Splits speakers, not recordings: about a tenth of them, drawn once and for all, is held out.

    Raises:
      UserError: if there are too few speakers to fill a mixture on both sides.
    """
    held_out = max(sources, round(HELD_OUT_SHARE * len(recordings)))
    if len(recordings) < held_out + sources:
        raise UserError(
            f"data.root has usable recordings of {len(recordings)} speakers, but {2 * sources} are "
            f"needed: {sources} to train on and {sources} to hold out; add speakers, or name a "
            "folder of other speakers in data.eval_root."
        )
    names = random_generator("hold out").permutation(sorted(recordings))
    return (
        {str(name): recordings[name] for name in names[held_out:]},
        {str(name): recordings[name] for name in names[:held_out]},
    )
