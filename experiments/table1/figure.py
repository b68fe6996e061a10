"""Figure 2 of the paper: mixtures, true sources and what each network makes of them."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from audioslots_jax import matching
from audioslots_jax.data.libri2mix import Libri2Mix
from audioslots_jax.data.librispeech import SAMPLE_RATE
from audioslots_jax.objectives import pairwise_mse
from audioslots_jax.reports import pictures
from experiments.table1.estimators import CHUNKS, ORACLE, Estimator, with_protocol
from experiments.table1.tables import ROWS

EXAMPLES = 3


def draw(mixtures: Libri2Mix, estimators: Sequence[Estimator]) -> Figure:
    """Returns a chunk of each of the first mixtures, and a column for each estimator that can.

    Networks show their reconstructions, as in the paper; the oracle, whose reconstructions are the
    sources, shows the mixture through its Wiener-like mask.
    """
    seconds = min(chunk for estimator in estimators for chunk in estimator.chunks)
    chunks = jnp.asarray(
        np.stack([liveliest(item.sources, CHUNKS[seconds]) for item in mixtures[:EXAMPLES]])
    )
    front_end = with_protocol(ORACLE.separator, "A", "wiener").front_end
    sources = front_end.magnitudes(chunks)
    shown = {}
    for estimator in estimators:
        if seconds in estimator.chunks:
            separator = with_protocol(estimator.separator, "A", "wiener")
            magnitudes = estimator.magnitudes(separator, estimator.params, chunks)
            shown[ROWS[estimator.row]] = np.asarray(matched(sources, magnitudes))
    return pictures.draw(
        np.asarray(front_end.magnitudes(jnp.sum(chunks, axis=1))),
        np.asarray(sources),
        shown,
        crop_seconds=seconds,
        sample_rate=SAMPLE_RATE,
    )


def liveliest(sources: np.ndarray, length: int) -> np.ndarray:
    """Returns the chunk in which the quieter source is loudest."""
    chunks = sources[:, : sources.shape[1] // length * length].reshape(len(sources), -1, length)
    return chunks[:, np.argmax(np.min(np.sum(np.square(chunks), axis=2), axis=0))]


def matched(
    sources: Float[Array, "example source frequency time"],
    estimates: Float[Array, "example source frequency time"],
) -> Float[Array, "example source frequency time"]:
    """Returns the estimates in the order that fits the sources best."""
    order = matching.assign(pairwise_mse(sources, estimates))
    return jnp.take_along_axis(estimates, order[:, :, None, None], axis=1)
