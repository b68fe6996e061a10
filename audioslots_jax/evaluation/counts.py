"""Scores of models that say how many sources there are, on mixtures of any number."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float32

from audioslots_jax.audio import permuted_si_snr, si_snr_improvement
from audioslots_jax.data.batch import Whole

PENALTY_DB = -30.0  # SI-SNR of a source that is missed, and of a slot that holds none
QUIET = 1e-10  # of a mixture's energy: slots with less are as quiet as this

# Of one mixture, and what their means are called.
SCORES = {
    "si_snri": "si_snri_where_right",
    "penalised": "penalised_si_snr",
    "absent_db": "absent_db",
}


class Counted(NamedTuple):
    """Of one mixture.

    Attributes:
      sources: there are.
      found: by the model.
      si_snri: mean over the sources, each with one of the slots that are said to hold one; NaN if
        the number is wrong, or the mixture holds fewer than two.
      penalised: mean SI-SNR over sources and slots, where what has no counterpart has `PENALTY_DB`,
        and nothing has less; NaN if there is no source, and none is found.
      absent_db: energy of all slots, found or not, that fit no source best, over the mixture's, in
        dB; NaN if there are none, or the mixture is silent.
    """

    sources: int
    found: int
    si_snri: float
    penalised: float
    absent_db: float


def count(
    whole: Whole, slots: Float32[np.ndarray, "slot sample"], held: Bool[np.ndarray, " slot"]
) -> Counted:
    """Returns the scores of a model's slots, of which some are said to hold a source (``held``)."""
    sources, found = len(whole.sources), int(np.sum(held))
    absent = _absent_db(whole, slots)
    if not sources:
        return Counted(0, found, np.nan, PENALTY_DB if found else np.nan, absent)
    silent = np.zeros((max(sources - found, 0), slots.shape[1]), np.float32)
    estimates = np.concatenate([slots[held], silent])
    scores, improvement, _ = jax.device_get(_score(whole.mixture, whole.sources, estimates))
    extra = max(found - sources, 0)
    total = np.sum(np.maximum(scores, PENALTY_DB)) + extra * PENALTY_DB
    right = found == sources > 1
    mean = float(np.mean(improvement)) if right else np.nan
    return Counted(sources, found, mean, float(total / (sources + extra)), absent)


def _absent_db(whole: Whole, slots: Float32[np.ndarray, "slot sample"]) -> float:
    free, energy = np.ones(len(slots), bool), np.sum(np.square(whole.mixture, dtype=np.float64))
    if len(slots) <= len(whole.sources) or not energy:
        return np.nan
    if len(whole.sources):
        free[np.asarray(_score(whole.mixture, whole.sources, slots)[2])] = False
    left = np.sum(np.square(slots[free], dtype=np.float64))
    return float(10 * np.log10(max(left / energy, QUIET)))


@jax.jit
def _score(
    mixture: jax.Array, sources: jax.Array, estimates: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    scores, order = permuted_si_snr(sources, estimates)
    return scores, si_snr_improvement(scores, sources, mixture), order


def summary(rows: Sequence[Counted], most: int) -> dict[str, float | list[list[int]]]:
    """Returns how often the number is right, and scores by number, of up to ``most`` sources.

    ``confusion[n][m]`` are the mixtures of ``n`` sources in which ``m`` are found.
    """
    confusion = np.zeros((most + 1, most + 1), int)
    for row in rows:
        confusion[row.sources, row.found] += 1
    result: dict[str, float | list[list[int]]] = {
        "count_accuracy": float(np.trace(confusion) / max(len(rows), 1)),
        "confusion": confusion.tolist(),
    }
    for number in sorted({row.sources for row in rows}):
        own = [row for row in rows if row.sources == number]
        for name, key in SCORES.items():
            values = np.array([getattr(row, name) for row in own])
            if np.isfinite(values).any():
                result[f"{key}_of_{number}"] = float(np.nanmean(values))
    return result
