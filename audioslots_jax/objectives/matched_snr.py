"""Negative signal-to-noise ratio of matched waveforms, limited as by Wisdom et al. (2020, 2021)."""

import dataclasses
from collections.abc import Iterator

import jax.numpy as jnp
from jaxtyping import Array, Float

from audioslots_jax.data.batch import Batch
from audioslots_jax.matching import Assign
from audioslots_jax.objectives.matched import matched_mean, taken
from audioslots_jax.separator import Estimates

# A source this far below its mixture counts as silent: its SNR would say nothing.
SILENT = 1e-6
# The energy of a sample that stands for that of a mixture which is silent itself.
SMALLEST = 1e-10


@dataclasses.dataclass(frozen=True)
class MatchedSNR:
    """Negative SNR of waveforms in dB under the best assignment.

    Attributes:
      limit_db: the SNR above which nothing is gained any more; the loss stays above its negative.
      silence: weight of the level, in dB over the mixture's, of slots that no source got; the mean
        over these slots, and not below ``-limit_db``.
    """

    limit_db: float = 30.0
    silence: float = 0.0

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        if not 0 < self.limit_db <= 60:
            yield "limit_db", "must be above 0, and at most 60"
        if self.silence < 0:
            yield "silence", "must not be negative"

    def __call__(
        self, estimates: Estimates, batch: Batch, assign: Assign
    ) -> Float[Array, " batch"]:
        """Returns the loss of every mixture."""
        costs = pairwise_negative_snr(
            batch.sources, estimates.waveforms, batch.mixture, self.limit_db
        )
        loss = matched_mean(costs, batch.present, assign)
        if not self.silence:
            return loss
        free = ~taken(costs, batch.present, assign)
        levels = level_over_mixture(estimates.waveforms, batch.mixture, self.limit_db)
        number = jnp.maximum(jnp.sum(free, axis=1, dtype=levels.dtype), 1)
        return loss + self.silence * jnp.sum(jnp.where(free, levels, 0.0), axis=1) / number


def level_over_mixture(
    estimates: Float[Array, "batch slot sample"],
    mixture: Float[Array, "batch sample"],
    limit_db: float,
) -> Float[Array, "batch slot"]:
    """Returns the energy of every slot over the mixture's in dB, smoothly above ``-limit_db``."""
    energy = jnp.sum(jnp.square(estimates), axis=-1)
    whole = jnp.sum(jnp.square(mixture), axis=-1)[:, None] + SMALLEST * mixture.shape[-1]
    return 10 * jnp.log10(energy / whole + 10 ** (-limit_db / 10))


def pairwise_negative_snr(
    targets: Float[Array, "batch source sample"],
    estimates: Float[Array, "batch slot sample"],
    mixture: Float[Array, "batch sample"],
    limit_db: float,
) -> Float[Array, "batch source slot"]:
    """Returns ``10 log10(|y - e|^2 / |y|^2 + 10^(-limit / 10))`` of every pair, in dB.

    For silent targets the mixture's energy stands in the place of theirs. Value and gradient are
    finite for all finite waveforms, silence and exact estimates among them.
    """
    energy = jnp.sum(jnp.square(targets), axis=-1)
    whole = jnp.sum(jnp.square(mixture), axis=-1)[:, None] + SMALLEST * mixture.shape[-1]
    reference = jnp.where(energy > SILENT * whole, energy, whole)
    difference = targets[:, :, None] - estimates[:, None, :]
    error = jnp.sum(jnp.square(difference), axis=-1)
    return 10 * jnp.log10(error / reference[:, :, None] + 10 ** (-limit_db / 10))
