"""Contrastive learning of who speaks: slots of one voice are alike, whoever else is heard.

The cross entropy of temperature-scaled cosines of Chen et al. (2020, SimCLR, equation 1), where the
two views of a voice are two moments of a recording, each mixed with another partner, and only the
other view's voices are compared with. It reads no speaker's name: all other voices of a batch are
taken for other speakers, as which some are not.
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from audioslots_jax.data.batch import Batch
from audioslots_jax.matching import Assign
from audioslots_jax.objectives.matched import assign_present, holding
from audioslots_jax.objectives.matched_snr import SILENT, pairwise_negative_snr
from audioslots_jax.separator import Estimates

LIMIT_DB = 30.0  # of the SNR by which slots are matched with sources
SMALLEST = 0.01  # length of a slot, for each root of its units, that counts as none


@dataclasses.dataclass(frozen=True)
class SpeakerContrast:
    """Cross entropy of finding a voice's slot among those of all voices of the other half.

    The batch is one of `with_other_partners`, whose halves hold the same voices; one that is silent
    in a half has no loss. Slots are compared by their cosine, less the mean of each slot's number,
    since a model may keep its slots in different places; and those that hold the voices are told by
    the best SNR.

    Attributes:
      temperature: what cosines are divided by.
    """

    temperature: float = 0.1
    needs: ClassVar[str] = "partners"

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        if not 0 < self.temperature <= 1:
            yield "temperature", "must be above 0, and at most 1"

    def __call__(
        self, estimates: Estimates, batch: Batch, assign: Assign
    ) -> Float[Array, " batch"]:
        """Returns the loss of every mixture, the mean over its sources, in nats."""
        present = batch.present
        costs = pairwise_negative_snr(batch.sources, estimates.waveforms, batch.mixture, LIMIT_DB)
        order = assign_present(jax.lax.stop_gradient(costs), present, assign)
        used = holding(order, present, estimates.slots.shape[1])
        total = jnp.sum(jnp.where(used[..., None], estimates.slots, 0.0), axis=0, keepdims=True)
        number = jnp.maximum(jnp.sum(used, axis=0, dtype=total.dtype), 1)[None, :, None]
        voices = jnp.take_along_axis(estimates.slots - total / number, order[:, :, None], axis=1)
        floor = SMALLEST * voices.shape[-1] ** 0.5
        lengths = jnp.sqrt(jnp.sum(jnp.square(voices), axis=-1, keepdims=True) + floor**2)
        half = len(voices) // 2
        first, second = (voices / lengths)[:half], _moved((voices / lengths)[half:], -1)
        cosines = jnp.einsum("bsd,ctd->bsct", first, second) / self.temperature
        in_first, in_second = present[:half], _moved(present[half:], -1)
        shape, count = in_first.shape, in_first.size
        cosines = cosines.reshape(count, count)
        of_first = _entropy(cosines, in_second.reshape(count)).reshape(shape)
        of_second = _entropy(cosines.T, in_first.reshape(count)).reshape(shape)
        losses = jnp.concatenate([of_first, _moved(of_second, 1)])
        in_both = jnp.concatenate([in_first & in_second, _moved(in_first & in_second, 1)])
        number = jnp.maximum(jnp.sum(in_both, axis=1, dtype=losses.dtype), 1)
        return jnp.sum(jnp.where(in_both, losses, 0.0), axis=1) / number


def with_other_partners(batch: Batch) -> Batch:
    """Returns twice as many mixtures of half the length, in which every voice is heard twice.

    The first half of the rows are the beginnings of the mixtures. The second half are their ends,
    where the second source is that of the mixture before, the third that of the second before, and
    so on; with at least as many mixtures as sources no two of them meet twice. One of them may be
    the same person's. Noise stays where it was. An odd last sample is left out.
    """
    half = batch.mixture.shape[-1] // 2
    begin, end = slice(half), slice(half, 2 * half)
    noise = batch.mixture - jnp.sum(batch.sources, axis=1)
    moved = _moved(batch.sources[..., end], 1)
    mixture = jnp.concatenate([batch.mixture[:, begin], noise[:, end] + jnp.sum(moved, axis=1)])
    sources = jnp.concatenate([batch.sources[..., begin], moved])
    # Who pauses may be silent in one of the halves.
    energy, whole = (jnp.sum(jnp.square(x), axis=-1) for x in (sources, mixture))
    present = jnp.concatenate([batch.present, _moved(batch.present, 1)])
    return Batch(mixture, sources, present & (energy > SILENT * whole[:, None]))


def _moved(
    x: Shaped[Array, "batch source *rest"], rows: int
) -> Shaped[Array, "batch source *rest"]:
    """Returns what belongs to sources; that of each but the first is moved on by its number."""
    moved = [jnp.roll(x[:, number], number * rows, axis=0) for number in range(x.shape[1])]
    return jnp.stack(moved, axis=1)


def _entropy(
    logits: Float[Array, "voice voice"], present: Bool[Array, " voice"]
) -> Float[Array, " voice"]:
    """Returns the cross entropy of finding each voice at its own place, among those present."""
    # Nobody's place counts as 0 where it must have no gradient; such losses are not used.
    among = jnp.where(present[None], logits, -jnp.inf)
    total = jax.nn.logsumexp(jnp.where(jnp.any(present), among, 0.0), axis=1)
    return total - jnp.diagonal(jnp.where(present[None], logits, 0.0))
