"""Training crops of Libri2Mix: its official mixtures, or new ones made the way it was made.

A batch is drawn as a whole, because the work per example limits how fast crops can be made.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from audioslots_jax.data.batch import Batch
from audioslots_jax.data.buffers import Buffers
from audioslots_jax.data.draws import epoch_order, uniforms
from audioslots_jax.data.level import decibels
from audioslots_jax.data.libri2mix import SOURCES, Libri2Mix
from audioslots_jax.data.librispeech import SAMPLE_RATE
from audioslots_jax.data.store import Packed
from audioslots_jax.data.wholes import WHOLE_SECONDS
from audioslots_jax.errors import UserError

# What to do with a crop in which a source is silent: take it, or another one of the same mixture.
Silence = Literal["keep", "redraw"]
SILENT_DB = -50.0  # RMS of a source in a crop, re full scale
TRIES = 100
LEVELS_LUFS = (-33.0, -25.0)  # LibriMix's range of loudness
PEAK = 0.9  # LibriMix's highest amplitude

Rows = Int[np.ndarray, " row"]
Crops = Float32[np.ndarray, "row source sample"]


class OfficialMixing:
    """Crops of the official mixtures in instances of 10 s, as the AudioSlots paper trains on.

    Every epoch takes each mixture once, in an order of its own. An instance is a mixture of mode
    "max", cut or padded with zeros to 10 s, so a crop may lie where a source has ended; one with a
    silent source (below `SILENT_DB`) is kept, or drawn again up to `TRIES` times.
    """

    def __init__(self, mixtures: Libri2Mix, *, samples: int, silence: Silence = "keep"):
        """Draws crops of ``samples`` samples, at most 10 s."""
        self._mixtures, self._samples, self._silence = mixtures, samples, silence
        self._buffers = Buffers()

    def batch(self, seed: int, step: int, rows: range, batch_size: int) -> Batch:
        """Returns rows of the batch of a step; raises a `UserError` if a source cannot be read."""
        examples = example_numbers(step, rows, batch_size)
        drawn = epoch_order("mixture", seed, examples, len(self._mixtures))
        starts = round(WHOLE_SECONDS * SAMPLE_RATE) - self._samples + 1

        def read(attempt: int, rows: Rows, out: Crops) -> None:
            start = starts * uniforms(f"place {attempt}", seed, examples, 1)[rows, 0]
            self._mixtures.read(drawn[rows], start.astype(int), out)

        crops = self._buffers.empty((len(rows), SOURCES, self._samples))
        draw_crops(read, crops, self._silence)
        return mixed(crops, self._buffers)

    def names(self, seed: int, step: int, row: int, batch_size: int) -> tuple[str, ...]:
        """Returns LibriSpeech's numbers of the speakers of a row; see `Named`."""
        example = example_numbers(step, range(row, row + 1), batch_size)
        mixture = int(epoch_order("mixture", seed, example, len(self._mixtures))[0])
        return tuple(map(str, self._mixtures.rows[mixture].speaker_ids))


class DynamicMixing:
    """Crops of new mixtures of any two speakers, at levels as in LibriMix.

    Every epoch takes each utterance once as a first source, with a second one of another speaker
    that is drawn uniformly. Each utterance is brought to a loudness drawn uniformly from
    `LEVELS_LUFS`, or to `PEAK` where it would reach full scale, and contributes a crop of its own.
    A mixture above `PEAK` is turned down to it, as LibriMix does with whole mixtures.
    """

    def __init__(self, utterances: Packed, *, samples: int, silence: Silence = "keep"):
        """Draws crops of utterances at least as long; raises a `UserError` without two speakers."""
        self._utterances, self._samples, self._silence = utterances, samples, silence
        self._buffers = Buffers()
        # A first utterance is an index into those sorted by speaker; its speaker's begin and end.
        self._by_speaker = np.argsort(utterances.speaker, kind="stable").astype(np.int32)
        speakers = utterances.speaker[self._by_speaker]
        self._begin, self._end = (
            np.searchsorted(speakers, speakers, side).astype(np.int32) for side in ("left", "right")
        )
        if not len(speakers) or speakers[0] == speakers[-1]:
            raise UserError(
                "dynamic mixing needs utterances of two speakers or more that are as long as a "
                f"crop of {samples} samples; prepare a larger store."
            )

    def batch(self, seed: int, step: int, rows: range, batch_size: int) -> Batch:
        """Returns rows of the batch of a step; raises a `UserError` if the store is cut off."""
        examples = example_numbers(step, rows, batch_size)
        choice, *levels = uniforms("second utterance and levels", seed, examples, 3).T
        first = epoch_order("first utterance", seed, examples, len(self._by_speaker))
        pairs = self.pairs(first, choice)
        gains = self.gains(pairs, np.stack(levels, axis=1))
        starts = self._utterances.frames[pairs] - self._samples + 1

        def read(attempt: int, rows: Rows, out: Crops) -> None:
            start = starts[rows] * uniforms(f"places {attempt}", seed, examples, SOURCES)[rows]
            self._utterances.read(
                pairs[rows].reshape(-1), start.astype(int).reshape(-1), gains[rows].reshape(-1),
                out.reshape(-1, self._samples),
            )  # fmt: skip

        crops = self._buffers.empty((len(rows), SOURCES, self._samples))
        draw_crops(read, crops, self._silence)
        # Few can be too loud, and looking at all would take longer than reading them.
        suspects = np.flatnonzero((gains * self._utterances.peak[pairs]).sum(axis=1) > PEAK)
        peaks = np.abs(crops[suspects].sum(axis=1)).max(axis=1)
        crops[suspects] *= (PEAK / np.maximum(peaks, PEAK))[:, None, None]
        return mixed(crops, self._buffers)

    def pairs(
        self, first: Int[np.ndarray, " row"], choice: Float[np.ndarray, " row"]
    ) -> Int[np.ndarray, "row source"]:
        """Returns the utterances to mix: those with index ``first`` when sorted by speaker, and
        those that ``choice`` in [0, 1) picks among the ones of all other speakers.
        """
        low, high = self._begin[first], self._end[first]
        others = (choice * (len(self._by_speaker) - (high - low))).astype(int)
        second = np.where(others < low, others, others + (high - low))
        return self._by_speaker[np.stack([first, second], axis=1)]

    def gains(
        self, pairs: Int[np.ndarray, "row source"], levels: Float[np.ndarray, "row source"]
    ) -> Float32[np.ndarray, "row source"]:
        """Returns factors that bring utterances to ``levels`` in [0, 1) of the loudness's range."""
        low, high = LEVELS_LUFS
        peak = self._utterances.peak[pairs]
        gains = 10 ** ((low + levels * (high - low) - self._utterances.loudness[pairs]) / 20)
        return np.where(gains * peak >= 1, PEAK / peak, gains).astype(np.float32)


def mixed(crops: Crops, buffers: Buffers) -> Batch:
    """Returns the batch of these sources, and of their sums in a buffer."""
    mixture = buffers.empty((crops.shape[0], crops.shape[2]))
    np.add(crops[:, 0], crops[:, 1], out=mixture)
    return Batch(mixture, crops, np.ones(crops.shape[:2], bool))


def example_numbers(step: int, rows: range, batch_size: int) -> range:
    """Returns the numbers of a step's rows among all examples of a training."""
    return range(step * batch_size + rows.start, step * batch_size + rows.stop)


def draw_crops(read: Callable[[int, Rows, Crops], None], crops: Crops, silence: Silence) -> None:
    """Fills crops by ``read(attempt, rows, out)``; those with a silent source again if asked."""
    read(0, np.arange(len(crops)), crops)
    if silence == "keep":
        return
    rest = np.flatnonzero(silent(crops))
    for attempt in range(1, TRIES):
        if not len(rest):
            break
        again = np.empty((len(rest), *crops.shape[1:]), np.float32)
        read(attempt, rest, again)
        crops[rest] = again
        rest = rest[silent(again)]


def silent(crops: Crops) -> Bool[np.ndarray, " row"]:
    """Returns which rows have a source below `SILENT_DB`."""
    power = np.vecdot(crops, crops) / crops.shape[-1]
    return power.min(axis=1) < decibels(SILENT_DB) ** 2
