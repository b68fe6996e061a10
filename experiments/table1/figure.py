"""Figure 2 of the paper: mixtures, true sources and what each network makes of them."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from audioslots_jax import losses, matching
from audioslots_jax.audio import MASKS, apply_masks, compress
from audioslots_jax.audio.spectrogram import POWER
from audioslots_jax.data.libri2mix import Libri2Mix
from audioslots_jax.data.utterances import SAMPLE_RATE
from audioslots_jax.training import pictures
from experiments.table1.estimators import CHUNKS, ORACLE, PROTOCOLS, Estimator
from experiments.table1.tables import ROWS

EXAMPLES = 3
STFT_A = PROTOCOLS["A"]


def draw(mixtures: Libri2Mix, estimators: Sequence[Estimator]) -> Figure:
    """A chunk of each of the first mixtures, and a column for each estimator that can do it.

    Networks show their reconstructions, as in the paper; the oracle, whose reconstructions are the
    sources, shows the mixture through its Wiener-like mask.
    """
    seconds = min(chunk for estimator in estimators for chunk in estimator.chunks)
    pieces = jnp.asarray(
        np.stack([liveliest(item.sources, CHUNKS[seconds]) for item in mixtures[:EXAMPLES]])
    )
    spectrograms = STFT_A(pieces)
    sources = compress(spectrograms)
    mixture = jnp.sum(spectrograms, axis=1)
    shown = {}
    for estimator in estimators:
        if seconds not in estimator.chunks:
            continue
        magnitudes = estimator.magnitudes(estimator.params, pieces, STFT_A)
        if estimator is ORACLE:
            shown["oracle"] = compress(apply_masks(MASKS["wiener"](magnitudes), mixture))
        else:
            shown[ROWS[estimator.row]] = matched(sources, magnitudes**POWER)
    return pictures.draw(
        np.asarray(compress(mixture)),
        np.asarray(sources),
        {name: np.asarray(values) for name, values in shown.items()},
        crop_seconds=seconds,
        sample_rate=SAMPLE_RATE,
    )


def liveliest(sources: np.ndarray, length: int) -> np.ndarray:
    """The chunk in which the quieter source is loudest."""
    chunks = sources[:, : sources.shape[1] // length * length].reshape(len(sources), -1, length)
    return chunks[:, np.argmax(np.min(np.sum(np.square(chunks), axis=2), axis=0))]


def matched(
    sources: Float[Array, "example source frequency time"],
    estimates: Float[Array, "example source frequency time"],
) -> Float[Array, "example source frequency time"]:
    """The estimates in the order that fits the sources best."""
    order = matching.assign(losses.pairwise_mse(sources, estimates))
    return jnp.take_along_axis(estimates, order[:, :, None, None], axis=1)
