"""What a model makes of a run's held-out crops: scores, levels, pitches, embeddings, counts."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from audioslots_jax.data.batch import HELD_OUT_SEED, Mixtures, Named
from audioslots_jax.evaluation.evaluators import UNDEFINED, held_out_batches, si_snr_scores
from audioslots_jax.inference.chunk_processor import estimate
from audioslots_jax.inference.presence import PRESENT
from audioslots_jax.inference.recordings import RecordingSeparator
from audioslots_jax.inference.stitching import batch_size
from audioslots_jax.lens.pitch import pitch

MOST = 128  # crops that are looked at


class Crops(NamedTuple):
    """Held-out crops; what is NaN does not exist.

    Attributes:
      si_snri: mean over the sources of each, in dB, against the truth.
      levels: difference between its loudest and its softest source, in dB.
      pitches: of the sources, in Hz.
      present: which sources exist.
      embeddings: of the slot that each source was matched with.
      names: who the sources are; empty where nobody is heard more than once.
      counted: the slots that are said to hold a source; None if the model does not say it.
    """

    si_snri: Float[np.ndarray, " mixture"]
    levels: Float[np.ndarray, " mixture"]
    pitches: Float[np.ndarray, "mixture source"]
    present: Bool[np.ndarray, "mixture source"]
    embeddings: Float[np.ndarray, "mixture source embedding"]
    names: list[tuple[str, ...]]
    counted: list[int] | None

    @property
    def distances(self) -> Float[np.ndarray, " mixture"]:
        """Returns how far the two nearest pitches of each mixture are apart, in semitones."""
        octaves = np.log2(np.where(self.present, self.pitches, np.nan))
        gaps = 12 * np.diff(np.sort(octaves, axis=1))  # what is NaN comes last
        nearest = np.where(np.isnan(gaps), np.inf, gaps).min(axis=1)
        unknown = np.any(self.present & np.isnan(self.pitches), axis=1)
        known: np.ndarray = np.where(unknown | np.isinf(nearest), np.nan, nearest)
        return known


def crops(separator: RecordingSeparator, mixtures: Mixtures, count: int) -> Crops:
    """Returns what a model makes of the first ``count`` held-out crops, at most `MOST`.

    They are the mixtures that the training was scored on, in its order.
    """
    count, size = min(count, MOST), batch_size(separator.crop)
    gain = np.float32(1)  # they have the level of the training
    scores, embeddings, heard, present, levels, pitches = [], [], [], [], [], []
    for batch in held_out_batches(mixtures, count, size):
        made = estimate(separator.separator, separator.params, batch.mixture, gain)
        improvement, _, order = _scores(batch, made.estimates)
        scores.append(np.asarray(improvement))
        matched = np.asarray(order)[:, :, None]
        embeddings.append(np.take_along_axis(np.asarray(made.embeddings), matched, axis=1))
        heard.append(np.sum(np.asarray(made.presence) >= PRESENT, axis=1))
        present.append(batch.present)
        levels.append(level_differences(batch.sources, batch.present))
        pitches.append([[pitch(x, separator.sample_rate) for x in row] for row in batch.sources])
    si_snri = np.concatenate(scores)[:count].astype(np.float64)
    names: list[tuple[str, ...]] = []
    if isinstance(mixtures, Named):
        names = [mixtures.names(HELD_OUT_SEED, i, 0, 1) for i in range(count)]
    return Crops(
        np.where(si_snri == UNDEFINED, np.nan, si_snri),
        np.concatenate(levels)[:count],
        np.concatenate([np.array(part) for part in pitches])[:count],
        np.concatenate(present)[:count],
        np.concatenate(embeddings)[:count],
        names,
        [int(number) for number in np.concatenate(heard)[:count]] if separator.counts else None,
    )


_scores = jax.jit(si_snr_scores)


def level_differences(
    sources: Float[np.ndarray, "batch source sample"], present: Bool[np.ndarray, "batch source"]
) -> Float[np.ndarray, " batch"]:
    """Returns the loudest source's level over the softest one's, in dB; NaN of fewer than two."""
    levels = 10 * np.log10(np.maximum(np.mean(np.square(sources), axis=-1), 1e-12))
    loudest = np.where(present, levels, -np.inf).max(axis=1)
    softest = np.where(present, levels, np.inf).min(axis=1)
    several = present.sum(axis=1) > 1
    difference: np.ndarray = np.where(several, loudest - np.where(several, softest, 0), np.nan)
    return difference
