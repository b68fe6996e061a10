"""How loud waveforms are."""

import numpy as np
from jaxtyping import Float

from audioslots_jax.data.batch import HELD_OUT_SEED, Mixtures


def decibels(level: float) -> float:
    """Returns the amplitude factor of a level in dB."""
    return 10.0 ** (level / 20.0)


def mean_square(audio: Float[np.ndarray, "*shape"]) -> float:
    """Returns the mean square of a waveform, in float64."""
    return float(np.mean(np.square(audio, dtype=np.float64)))


def rms(audio: Float[np.ndarray, "*shape"]) -> float:
    """Returns the root mean square of a waveform, in float64."""
    return mean_square(audio) ** 0.5


def energy_weighted_rms(powers: Float[np.ndarray, " crop"]) -> float:
    """Returns the RMS level of crops of mean squares p, weighted by energy: sqrt(sum p^2 / sum p).

    So silence counts nothing, and a recording with pauses is as loud as what is between them.
    """
    powers = powers.astype(np.float64)
    return float(np.sqrt(np.sum(powers**2) / np.sum(powers))) if powers.any() else 0.0


def mixture_level(mixtures: Mixtures, count: int) -> float:
    """Returns the `energy_weighted_rms` of the first ``count`` held-out mixtures."""
    batches = (mixtures.batch(HELD_OUT_SEED, index, range(1), 1) for index in range(count))
    return energy_weighted_rms(np.array([mean_square(np.asarray(b.mixture)) for b in batches]))
