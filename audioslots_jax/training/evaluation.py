"""Scores on held-out mixtures of one crop each."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audioslots_jax import losses, matching
from audioslots_jax.audio import (
    MASKS,
    apply_masks,
    compress,
    expand,
    permuted_si_snr,
    si_snr_improvement,
)
from audioslots_jax.data import Mixtures
from audioslots_jax.data.mixtures import HELD_OUT_SEED
from audioslots_jax.training.step import Task


class Separated(NamedTuple):
    """Held-out mixtures, taken apart. Scores are in dB, waveforms at the data's rate.

    Attributes:
      mixture, sources, estimates: waveforms; estimates are in the order of the sources.
      mixture_spectrogram, source_spectrograms, estimated_spectrograms: compressed magnitudes.
      loss: the training loss of each mixture.
      si_snr, si_snri: the model's, per source.
      oracle_si_snr, oracle_si_snri: of masks made from the true sources.
    """

    mixture: Float[Array, "batch sample"]
    sources: Float[Array, "batch source sample"]
    estimates: Float[Array, "batch source sample"]
    mixture_spectrogram: Float[Array, "batch frequency time"]
    source_spectrograms: Float[Array, "batch source frequency time"]
    estimated_spectrograms: Float[Array, "batch source frequency time"]
    loss: Float[Array, " batch"]
    si_snr: Float[Array, "batch source"]
    si_snri: Float[Array, "batch source"]
    oracle_si_snr: Float[Array, "batch source"]
    oracle_si_snri: Float[Array, "batch source"]


def separate(
    task: Task, mask: str, params: Any, sources: Float[Array, "batch source sample"]
) -> Separated:
    """Mixes the sources, separates them and scores the result.

    Args:
      task: the model and its front end. An autoencoder (one slot) sees the true sources one by
        one; its reconstructions become the masks.
      mask: a name in `MASKS`.
      params: the model's parameters.
      sources: waveforms; each becomes a target.
    """
    batch_size, count, samples = sources.shape
    mixture = jnp.sum(sources, axis=1)
    stft = task.by_row(task.stft)
    inverse = task.by_row(functools.partial(task.stft.inverse, samples=samples))
    mixture_spectrogram = stft(mixture)
    seen = task.spectrograms(sources)
    magnitudes = task.apply(params, seen).spectrograms
    costs = losses.pairwise_mse(compress(seen, task.power), magnitudes)
    matched = task.assign(costs)
    loss = matching.matched_costs(costs, matched).reshape(batch_size, count).mean(axis=1)
    magnitudes = magnitudes.reshape(batch_size, count, *magnitudes.shape[2:])
    true_magnitudes = compress(stft(sources), task.power)

    def unmix(
        magnitudes: Float[Array, "batch source frequency time"],
    ) -> Float[Array, "batch source sample"]:
        masks = MASKS[mask](expand(magnitudes, task.power))
        return inverse(apply_masks(masks, mixture_spectrogram))

    estimates = unmix(magnitudes)
    scores, order = permuted_si_snr(sources, estimates)
    oracle_scores, _ = permuted_si_snr(sources, unmix(true_magnitudes))
    return Separated(
        mixture=mixture,
        sources=sources,
        estimates=jnp.take_along_axis(estimates, order[:, :, None], axis=1),
        mixture_spectrogram=compress(mixture_spectrogram, task.power),
        source_spectrograms=true_magnitudes,
        estimated_spectrograms=jnp.take_along_axis(magnitudes, order[:, :, None, None], axis=1),
        loss=loss,
        si_snr=scores,
        si_snri=si_snr_improvement(scores, sources, mixture),
        oracle_si_snr=oracle_scores,
        oracle_si_snri=si_snr_improvement(oracle_scores, sources, mixture),
    )


def held_out_batches(
    mixtures: Mixtures, count: int, batch_size: int, rows: range | None = None
) -> list[np.ndarray]:
    """The first ``count`` held-out mixtures, rounded up to whole batches.

    Mixture ``i`` is the same for every run, whatever its seed and batch size. A process that holds
    a part of every batch gives its ``rows``, and gets no others.
    """
    wanted = range(batch_size) if rows is None else rows
    return [
        np.stack([mixtures.batch(HELD_OUT_SEED, first + row, range(1), 1)[0] for row in wanted])
        for first in range(0, count, batch_size)
    ]


def evaluate(
    separate_batch: Callable[[np.ndarray], Separated],
    batches: Sequence[np.ndarray],
    count: int,
    examples: int,
    *,
    autoencoder: bool,
) -> tuple[Separated, dict[str, float]]:
    """Mean scores over the first ``count`` mixtures.

    Returns:
      At least the first ``examples`` mixtures, separated, on the host; and every score by name. An
      autoencoder's scores are named so, because it is shown the true sources.
    """
    prefix = "autoencoder_" if autoencoder else ""
    names = {
        "loss": "loss",
        "si_snr": f"{prefix}si_snr",
        "si_snri": f"{prefix}si_snri",
        "oracle_si_snr": "oracle_si_snr",
        "oracle_si_snri": "oracle_si_snri",
    }
    shown: list[Separated] = []
    values: dict[str, list[np.ndarray]] = {field: [] for field in names}
    for sources in batches:
        separated = separate_batch(sources)
        # Waveforms and spectrograms are large; only those that will be shown leave the device.
        if sum(len(part.loss) for part in shown) < max(examples, 1):
            shown.append(jax.device_get(separated))
        for field, parts in values.items():
            parts.append(jax.device_get(getattr(separated, field)))
    scores = {
        name: float(np.concatenate(values[field])[:count].mean(dtype=np.float64))
        for field, name in names.items()
    }
    return jax.tree.map(lambda *parts: np.concatenate(parts), *shown), scores
