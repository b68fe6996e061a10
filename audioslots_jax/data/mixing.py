"""Training crops of Libri2Mix: its official mixtures, or new ones made the way it was made.

A batch is drawn as a whole, because the work per example limits how fast crops can be made.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from audioslots_jax.data.libri2mix import SOURCES, Libri2Mix
from audioslots_jax.data.memory import Memory
from audioslots_jax.data.mixtures import decibels, epoch_order, uniforms
from audioslots_jax.data.store import Packed
from audioslots_jax.data.utterances import SAMPLE_RATE
from audioslots_jax.errors import UserError

INSTANCE_SECONDS = 10.0  # of a mixture that crops are taken from (AudioSlots paper, section 3)
SILENCES = ("keep", "redraw")
SILENT_DB = -50.0  # RMS of a source in a crop, re full scale
TRIES = 100
LEVELS_LUFS = (-33.0, -25.0)  # LibriMix's range of loudness
PEAK = 0.9  # LibriMix's highest amplitude

Rows = Int[np.ndarray, " row"]
Crops = Float32[np.ndarray, "row source sample"]


class OfficialMixing:
    """Crops of the official mixtures in instances of 10 s, as the AudioSlots paper trains on.

    Every epoch takes each mixture once, in an order of its own. An instance is a mixture of mode
    "max", cut or padded with zeros to 10 s, so a crop may lie where a source has ended.
    """

    sample_rate, sources = SAMPLE_RATE, SOURCES

    def __init__(self, mixtures: Libri2Mix, *, samples: int, silence: str = "keep"):
        """Args:
        mixtures: whose rows are mixed; any mode.
        samples: length of a crop, at most 10 s.
        silence: what to do with a crop in which a source is silent (below `SILENT_DB`): ``keep``
          it, or ``redraw`` its place in the mixture, up to `TRIES` times.
        """
        self.samples = samples
        self._mixtures, self._silence, self._memory = mixtures, silence, Memory()

    def batch(
        self, seed: int, step: int, rows: range, batch_size: int
    ) -> Float32[np.ndarray, "row source sample"]:
        """See `Mixtures`.

        Raises:
          UserError: if a source cannot be read; it names the mixture.
        """
        examples = example_numbers(step, rows, batch_size)
        drawn = epoch_order("mixture", seed, examples, len(self._mixtures))
        places = round(INSTANCE_SECONDS * SAMPLE_RATE) - self.samples + 1

        def read(attempt: int, rows: Rows, out: Crops) -> None:
            starts = (places * uniforms(f"place {attempt}", seed, examples, 1)[rows, 0]).astype(int)
            self._mixtures.read(drawn[rows], starts, out)

        crops = self._memory.empty((len(rows), SOURCES, self.samples))
        draw_crops(read, crops, self._silence)
        return crops


class DynamicMixing:
    """Crops of new mixtures of any two speakers, at levels as in LibriMix.

    Every epoch takes each utterance once as a first source, with a second one of another speaker
    that is drawn uniformly; so pairs are new in every epoch. Each utterance is brought to a
    loudness drawn uniformly from `LEVELS_LUFS`, or to the peak `PEAK` where it would reach full
    scale, and contributes a crop of its own. A mixture above `PEAK` is turned down to it: LibriMix
    does so with whole mixtures, here it is the crop.
    """

    sample_rate, sources = SAMPLE_RATE, SOURCES

    def __init__(self, utterances: Packed, *, samples: int, silence: str = "keep"):
        """Args:
        utterances: what is mixed; each at least as long as a crop, with a loudness.
        samples: length of a crop.
        silence: as for `OfficialMixing`.

        Raises:
          UserError: if they are not of two speakers or more.
        """
        self.samples = samples
        self._utterances, self._silence, self._memory = utterances, silence, Memory()
        # The utterances sorted by speaker, and where each one's speaker begins and ends among them.
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

    def batch(
        self, seed: int, step: int, rows: range, batch_size: int
    ) -> Float32[np.ndarray, "row source sample"]:
        """See `Mixtures`.

        Raises:
          UserError: if the store cannot be read.
        """
        examples = example_numbers(step, rows, batch_size)
        choice, *levels = uniforms("second utterance and levels", seed, examples, 3).T
        pairs = self.pairs(epoch_order("first utterance", seed, examples, self._count), choice)
        gains = self.gains(pairs, np.stack(levels, axis=1))
        places = self._utterances.frames[pairs] - self.samples + 1

        def read(attempt: int, rows: Rows, out: Crops) -> None:
            starts = (
                places[rows] * uniforms(f"places {attempt}", seed, examples, SOURCES)[rows]
            ).astype(int)
            self._utterances.read(
                pairs[rows].reshape(-1), starts.reshape(-1), gains[rows].reshape(-1),
                out.reshape(-1, self.samples),
            )  # fmt: skip

        crops = self._memory.empty((len(rows), SOURCES, self.samples))
        draw_crops(read, crops, self._silence)
        # Few can be too loud, and looking at all would take longer than reading them.
        suspects = np.flatnonzero((gains * self._utterances.peak[pairs]).sum(axis=1) > PEAK)
        peaks = np.abs(crops[suspects].sum(axis=1)).max(axis=1)
        crops[suspects] *= (PEAK / np.maximum(peaks, PEAK))[:, None, None]
        return crops

    @property
    def _count(self) -> int:
        return len(self._by_speaker)

    def pairs(
        self, first: Int[np.ndarray, " row"], choice: Float[np.ndarray, " row"]
    ) -> Int[np.ndarray, "row source"]:
        """Utterances to mix.

        Args:
          first: place of the first one in the list that is sorted by speaker.
          choice: in [0, 1); picks the second among those of all other speakers.
        """
        low, high = self._begin[first], self._end[first]
        others = (choice * (self._count - (high - low))).astype(int)
        second = np.where(others < low, others, others + (high - low))
        return self._by_speaker[np.stack([first, second], axis=1)]

    def gains(
        self, pairs: Int[np.ndarray, "row source"], levels: Float[np.ndarray, "row source"]
    ) -> Float32[np.ndarray, "row source"]:
        """Factors that give the utterances the loudness at ``levels`` in [0, 1) of its range."""
        low, high = LEVELS_LUFS
        peak = self._utterances.peak[pairs]
        gains = 10 ** ((low + levels * (high - low) - self._utterances.loudness[pairs]) / 20)
        return np.where(gains * peak >= 1, PEAK / peak, gains).astype(np.float32)


def example_numbers(step: int, rows: range, batch_size: int) -> range:
    """The numbers of a step's rows among all examples of a training."""
    return range(step * batch_size + rows.start, step * batch_size + rows.stop)


def draw_crops(read: Callable[[int, Rows, Crops], None], crops: Crops, silence: str) -> None:
    """Fills all crops; those with a silent source again, if that is wanted.

    Args:
      read: called with the number of an attempt and some rows; fills the crops it is given.
      crops: to be filled.
      silence: a name in `SILENCES`.
    """
    read(0, np.arange(len(crops)), crops)
    if silence == "keep":
        return
    wanted = np.flatnonzero(silent(crops))
    for attempt in range(1, TRIES):
        if not len(wanted):
            break
        again = np.empty((len(wanted), *crops.shape[1:]), np.float32)
        read(attempt, wanted, again)
        crops[wanted] = again
        wanted = wanted[silent(again)]


def silent(crops: Crops) -> Bool[np.ndarray, " row"]:
    """Which rows have a source below `SILENT_DB`."""
    power = np.vecdot(crops, crops) / crops.shape[-1]
    return power.min(axis=1) < decibels(SILENT_DB) ** 2
