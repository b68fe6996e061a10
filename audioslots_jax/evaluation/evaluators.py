"""Evaluators: what is measured on held-out crops while a model trains, by name.

An evaluator is a dataclass that is given the separator and the objectives, and is a pure function
of parameters and a batch. Its ``scores`` are the names of what it measures.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audioslots_jax.audio import permuted_si_snr, si_snr_improvement
from audioslots_jax.data.batch import HELD_OUT_SEED, Batch, Mixtures
from audioslots_jax.evaluation.counts import QUIET
from audioslots_jax.models import Magnitudes
from audioslots_jax.objectives import Objectives
from audioslots_jax.objectives.matched import taken
from audioslots_jax.objectives.matched_snr import pairwise_negative_snr
from audioslots_jax.progress import progress
from audioslots_jax.reports.examples import Examples
from audioslots_jax.separator import Estimates, Separator

LIMIT_DB = 60.0  # SI-SNR of a mixture that is its only source
# A score that the truth leaves undefined for a mixture; NaN is one that the model has spoilt.
UNDEFINED = math.inf


class Evaluation(NamedTuple):
    """What an evaluator makes of a batch.

    Attributes:
      values: for each of its ``scores``, a value per mixture.
      examples: the batch taken apart, if it has that to show.
    """

    values: tuple[Float[Array, " batch"], ...]
    examples: Examples | None = None


@runtime_checkable
class Evaluator(Protocol):
    """A dataclass of a separator and objectives; ``scores`` are the names of its values."""

    scores: ClassVar[tuple[str, ...]]

    def __call__(self, params: Any, batch: Batch) -> Evaluation:
        """Returns the scores of every mixture."""


@dataclasses.dataclass(frozen=True)
class Separation:
    """SI-SNR in dB of what the model makes of mixtures, and its loss."""

    separator: Separator
    objectives: Objectives
    scores: ClassVar[tuple[str, ...]] = ("si_snri", "si_snr", "loss")

    def __call__(self, params: Any, batch: Batch) -> Evaluation:
        """Returns the scores of every mixture."""
        estimates = self.separator(params, batch.mixture)
        loss = self._loss(params, batch, estimates)
        return scored(self.separator, batch, estimates, loss)

    def _loss(self, params: Any, batch: Batch, estimates: Estimates) -> Float[Array, " batch"]:
        """Returns the loss that needs sources, if there is one; else that of mixtures alone."""
        supervised = self.objectives.that_need("sources")
        if supervised.parts:
            return supervised(estimates, batch)
        alone = self.objectives.that_need("mixture")
        if alone.parts:
            return alone(estimates, batch.hidden())
        pairs = batch.in_pairs()
        losses = self.objectives(self.separator(params, pairs.mixture), pairs)
        return jnp.repeat(losses, 2, total_repeat_length=len(batch.mixture))


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    """The paper's ceiling of the representation: each source reconstructed alone makes a mask.

    It is shown the true sources, as its name says.
    """

    separator: Separator
    objectives: Objectives
    scores: ClassVar[tuple[str, ...]] = ("autoencoder_si_snri", "autoencoder_si_snr", "loss")

    def __call__(self, params: Any, batch: Batch) -> Evaluation:
        """Returns the scores of every mixture."""
        alone = batch.alone()
        estimates = self.separator(params, alone.mixture)
        loss = self.objectives(estimates, alone).reshape(batch.present.shape).mean(axis=1)
        shape = (*batch.present.shape, *estimates.magnitudes.shape[2:])
        magnitudes = estimates.magnitudes.reshape(shape)
        joined = estimates._replace(
            waveforms=self.separator.unmix(batch.mixture, Magnitudes(magnitudes)),
            magnitudes=magnitudes,
            slots=estimates.slots.reshape(*batch.present.shape, -1),
        )
        return scored(self.separator, batch, joined, loss)


@dataclasses.dataclass(frozen=True)
class OracleMasks:
    """SI-SNR in dB of masks made from the true sources: the ceiling of masks of magnitudes."""

    separator: Separator
    objectives: Objectives
    scores: ClassVar[tuple[str, ...]] = ("oracle_si_snri", "oracle_si_snr")

    def __call__(self, params: Any, batch: Batch) -> Evaluation:
        """Returns the scores of every mixture."""
        magnitudes = self.separator.front_end.magnitudes(batch.sources)
        waveforms = self.separator.unmix(batch.mixture, Magnitudes(magnitudes))
        return Evaluation(si_snr_scores(batch, waveforms)[:2])


@dataclasses.dataclass(frozen=True)
class Counting:
    """How often as many slots are said to hold a source as there are; for a model that says so.

    ``absent_db`` is the energy of slots without a source over the mixture's, in dB; which they are
    the true sources say.
    """

    separator: Separator
    objectives: Objectives
    scores: ClassVar[tuple[str, ...]] = ("count_accuracy", "absent_db")

    def __call__(self, params: Any, batch: Batch) -> Evaluation:
        """Returns the scores of every mixture."""
        estimates = self.separator(params, batch.mixture)
        counted = jnp.sum(estimates.named["presence"] > 0, axis=1, dtype=jnp.int32)
        right = counted == jnp.sum(batch.present, axis=1, dtype=jnp.int32)
        costs = pairwise_negative_snr(batch.sources, estimates.waveforms, batch.mixture, LIMIT_DB)
        free = ~taken(costs, batch.present, self.objectives.assign)
        energy = jnp.sum(jnp.square(estimates.waveforms), axis=-1)
        left = jnp.sum(jnp.where(free, energy, 0.0), axis=1)
        whole = jnp.sum(jnp.square(batch.mixture), axis=1)
        level = 10 * jnp.log10(jnp.maximum(left, QUIET * whole) / whole)
        known = jnp.any(free, axis=1) & (whole > 0)
        return Evaluation((right.astype(jnp.float32), jnp.where(known, level, UNDEFINED)))


EVALUATORS: dict[str, Callable[[Separator, Objectives], Evaluator]] = {
    "separation": Separation,
    "autoencoder": Autoencoder,
    "oracle_masks": OracleMasks,
    "counting": Counting,
}


def si_snr_scores(
    batch: Batch, estimates: Float[Array, "batch slot sample"]
) -> tuple[Array, Array, Array]:
    """Returns SI-SNRi and SI-SNR in dB, means over the sources that exist, and their slots.

    They are `UNDEFINED` where no source exists; SI-SNRi also where a source is alone, and is the
    mixture already.
    """
    absolute, order = permuted_si_snr(batch.sources, estimates)
    improvement = si_snr_improvement(absolute, batch.sources, batch.mixture)
    count = jnp.sum(batch.present, axis=1, dtype=absolute.dtype)

    def mean(scores: Float[Array, "batch source"]) -> Float[Array, " batch"]:
        total = jnp.sum(jnp.where(batch.present, scores, 0.0), axis=1)
        return jnp.where(count > 0, total / jnp.maximum(count, 1), UNDEFINED)

    mixed = si_snr_improvement(jnp.zeros_like(absolute), batch.sources, batch.mixture)
    alone = (count == 1) & (mean(-mixed) > LIMIT_DB)
    return jnp.where(alone, UNDEFINED, mean(improvement)), mean(absolute), order


def scored(
    separator: Separator, batch: Batch, estimates: Estimates, loss: Float[Array, " batch"]
) -> Evaluation:
    """Returns SI-SNRi, SI-SNR and loss, and the estimates in the order of the sources."""
    front_end, waveforms = separator.front_end, estimates.waveforms
    improvement, absolute, order = si_snr_scores(batch, waveforms)
    energy = jnp.sum(jnp.square(waveforms), axis=-1)
    examples = Examples(
        mixture=batch.mixture,
        sources=batch.sources,
        estimates=jnp.take_along_axis(waveforms, order[:, :, None], axis=1),
        mixture_spectrogram=front_end.magnitudes(batch.mixture),
        source_spectrograms=front_end.magnitudes(batch.sources),
        estimated_spectrograms=jnp.take_along_axis(
            estimates.magnitudes, order[:, :, None, None], axis=1
        ),
        slots=estimates.slots,
        usage=energy / jnp.maximum(jnp.sum(energy, axis=1, keepdims=True), 1e-12),
    )
    return Evaluation((improvement, absolute, loss), examples)


def held_out_batches(
    mixtures: Mixtures, count: int, batch_size: int, rows: range | None = None
) -> list[Batch]:
    """Returns the first ``count`` held-out mixtures, rounded up to whole batches.

    Mixture ``i`` is the same for every run, whatever its seed and batch size. A process that holds
    a part of every batch gives its ``rows``, and gets no others.
    """

    def collect(first: int) -> Batch:
        own = range(batch_size) if rows is None else rows
        each = [mixtures.batch(HELD_OUT_SEED, first + row, range(1), 1) for row in own]
        return Batch(*map(np.concatenate, zip(*each, strict=True)))

    return [collect(first) for first in range(0, count, batch_size)]


def evaluate(
    evaluators: Mapping[tuple[str, ...], Callable[[Batch], Evaluation]],
    batches: Sequence[Batch],
    count: int,
    examples: int,
) -> tuple[dict[str, float], Examples | None]:
    """Returns mean scores over the first ``count`` mixtures, and some taken apart.

    Evaluators come by the names of their scores, with their parameters. The first one that shows
    mixtures shows ``examples`` of them, rounded up to whole batches. Mixtures for which a score is
    `UNDEFINED` are left out of its mean, and a score that no mixture defines is left out.
    """
    scores: dict[str, float] = {}
    shown: list[Examples] = []
    for names, evaluator in evaluators.items():
        own: list[Examples] = []
        values: list[tuple[np.ndarray, ...]] = []
        # The time of the first batch is that of compiling.
        bar = progress(batches, desc=f"scoring {names[0]}", unit="batch", leave=False, delay=2)
        for batch in bar:
            evaluation = evaluator(batch)
            values.append(jax.device_get(evaluation.values))
            # Waveforms and spectrograms are large; only those that will be shown leave the device.
            enough = sum(len(part.mixture) for part in own) >= examples
            if not (shown or enough) and evaluation.examples is not None:
                own.append(jax.device_get(evaluation.examples))
        shown = shown or own
        for name, parts in zip(names, zip(*values, strict=True), strict=True):
            of_all = np.concatenate(parts)[:count]
            defined = of_all[of_all != UNDEFINED]
            if len(defined):
                scores[name] = float(defined.mean(dtype=np.float64))
    return scores, jax.tree.map(lambda *parts: np.concatenate(parts), *shown) if shown else None
