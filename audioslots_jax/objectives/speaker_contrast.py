"""Contrastive learning of who speaks: slots of one voice are alike, whoever else is heard.

The normalised, temperature-scaled cross entropy of Chen et al. (2020, SimCLR, section 2.1), where
two views of a voice are two moments of a recording, each mixed with another partner. It reads no
speaker's name: all other voices of a batch are taken for other speakers.
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from audioslots_jax.data.batch import Batch
from audioslots_jax.matching import Assign
from audioslots_jax.objectives.matched import assign_present
from audioslots_jax.objectives.matched_snr import pairwise_negative_snr
from audioslots_jax.separator import Estimates

LIMIT_DB = 30.0  # of the SNR by which slots are matched with sources
SMALLEST = 1e-6  # length of a slot


@dataclasses.dataclass(frozen=True)
class SpeakerContrast:
    """Cross entropy of finding a voice's slot among all slots of the other half of the batch.

    The batch is one of `with_other_partners`, whose halves hold the same voices. Slots are compared
    by their cosine, less the mean of each slot's number, since a model may keep its slots in
    different places; and those that hold the voices are told by the best SNR.

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
        costs = pairwise_negative_snr(batch.sources, estimates.waveforms, batch.mixture, LIMIT_DB)
        order = assign_present(jax.lax.stop_gradient(costs), batch.present, assign)
        slots = estimates.slots - jnp.mean(estimates.slots, axis=0, keepdims=True)
        voices = jnp.take_along_axis(slots, order[:, :, None], axis=1)
        lengths = jnp.sqrt(jnp.sum(jnp.square(voices), axis=-1, keepdims=True) + SMALLEST**2)
        half = len(voices) // 2
        first, second = (voices / lengths)[:half], _moved((voices / lengths)[half:], -1)
        here, there = batch.present[:half], _moved(batch.present[half:], -1)
        cosines = jnp.einsum("bsd,ctd->bsct", first, second) / self.temperature
        count = half * here.shape[1]
        cosines = cosines.reshape(count, count)
        forth = _entropy(cosines, there.reshape(count)).reshape(here.shape)
        back = _entropy(cosines.T, here.reshape(count)).reshape(here.shape)
        losses = jnp.concatenate([forth, _moved(back, 1)])
        number = jnp.maximum(jnp.sum(batch.present, axis=1, dtype=losses.dtype), 1)
        return jnp.sum(jnp.where(batch.present, losses, 0.0), axis=1) / number


def with_other_partners(batch: Batch) -> Batch:
    """Returns twice as many mixtures of half the length, in which every voice is heard twice.

    The first half of the rows are the beginnings of the mixtures. The second half are their ends,
    with all sources but the first from the mixture before. Noise stays where it was. An odd last
    sample is left out.
    """
    half = batch.mixture.shape[-1] // 2
    begin, end = slice(half), slice(half, 2 * half)
    noise = batch.mixture - jnp.sum(batch.sources, axis=1)
    sources = _moved(batch.sources[..., end], 1)
    return Batch(
        jnp.concatenate([batch.mixture[:, begin], noise[:, end] + jnp.sum(sources, axis=1)]),
        jnp.concatenate([batch.sources[..., begin], sources]),
        jnp.concatenate([batch.present, _moved(batch.present, 1)]),
    )


def _moved(x: Array, rows: int) -> Array:
    """Returns what belongs to sources, moved on by some rows for all but the first source."""
    return jnp.concatenate([x[:, :1], jnp.roll(x[:, 1:], rows, axis=0)], axis=1)


def _entropy(logits: Float[Array, "voice voice"], there: Array) -> Float[Array, " voice"]:
    """Returns the cross entropy of finding each voice at its own place, among those there."""
    among = jnp.where(there[None], logits, -jnp.inf)
    # A voice that is not there has no place; its loss is not used, and must have no gradient.
    own = jnp.diagonal(jnp.where(there[None], logits, 0.0))
    total = jax.nn.logsumexp(jnp.where(jnp.any(there), among, 0.0), axis=1)
    return total - own
