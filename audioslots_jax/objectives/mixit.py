"""Mixture invariant training (Wisdom et al. 2020): separating without any separated source.

Two mixtures are added, and the model takes their sum apart into slots. Every slot is then given to
one of the two mixtures, so that the slots of each add up to it as well as they can.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audioslots_jax.data.batch import Batch
from audioslots_jax.matching import Assign
from audioslots_jax.objectives.matched_snr import pairwise_negative_snr
from audioslots_jax.separator import Estimates

MOST = 2**12  # mixing matrices that are tried for each mixture
RIDGE = 1e-6  # of the least squares, over the mean energy of slots, where they depend on each other


@dataclasses.dataclass(frozen=True)
class MixIT:
    """Negative SNR in dB of the mixtures that were added, under the best mixing of the slots.

    The batch's ``sources`` are these mixtures; see `Batch.in_pairs`.

    Attributes:
      limit_db: the SNR above which nothing is gained any more; the loss stays above its negative.
      mixing: the best of ``all`` mixing matrices; or the one nearest to that of the
        ``least_squares`` (Wisdom et al. 2021), whose cost does not grow with their number.
    """

    limit_db: float = 30.0
    mixing: Literal["all", "least_squares"] = "all"
    needs: ClassVar[str] = "pairs"

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        if not 0 < self.limit_db <= 60:
            yield "limit_db", "must be above 0, and at most 60"

    def __call__(
        self, estimates: Estimates, batch: Batch, assign: Assign
    ) -> Float[Array, " batch"]:
        """Returns the loss of every mixture."""
        del assign
        slots, references = estimates.waveforms, batch.sources
        best = best_mixing if self.mixing == "all" else nearest_mixing
        mixing = best(*jax.lax.stop_gradient((references, slots)))
        remixed = jnp.einsum("brs,bsn->brn", mixing, slots)
        costs = pairwise_negative_snr(references, remixed, batch.mixture, self.limit_db)
        return jnp.mean(jnp.diagonal(costs, axis1=1, axis2=2), axis=1)


def best_mixing(
    references: Float[Array, "batch reference sample"], slots: Float[Array, "batch slot sample"]
) -> Float[Array, "batch reference slot"]:
    """Returns the mixing matrix of least squared error, summed in log over the references.

    Its columns hold a single 1. All ``references ** slots`` of them are tried.

    Raises:
      ValueError: if these are more than `MOST`.
    """
    (count, number) = (references.shape[1], slots.shape[1])
    if count**number > MOST:
        raise ValueError(
            f"{count} mixtures of {number} slots have {count**number} mixing matrices, more than "
            f"{MOST}; choose objectives.mixit.mixing 'least_squares'."
        )
    owners = np.asarray(list(itertools.product(range(count), repeat=number)), np.int32)
    matrices = jnp.asarray(np.eye(count, dtype=np.float32)[owners].transpose(0, 2, 1))
    # Errors of all matrices from inner products, without remixing anything.
    energy = jnp.sum(jnp.square(references), axis=-1)
    crossed = jnp.einsum("brn,bsn->brs", references, slots)
    inner = jnp.einsum("bsn,btn->bst", slots, slots)
    errors = (
        energy[:, None]
        - 2 * jnp.einsum("mrs,brs->bmr", matrices, crossed)
        + jnp.einsum("mrs,bst,mrt->bmr", matrices, inner, matrices)
    )
    smallest = 1e-6 * jnp.sum(energy, axis=1)[:, None, None] + jnp.finfo(jnp.float32).tiny
    total = jnp.sum(jnp.log(jnp.maximum(errors, smallest)), axis=-1)
    return matrices[jnp.argmin(total, axis=1)]


def nearest_mixing(
    references: Float[Array, "batch reference sample"], slots: Float[Array, "batch slot sample"]
) -> Float[Array, "batch reference slot"]:
    """Returns the mixing matrix nearest to that of the least squares.

    Each slot goes to the reference in which the least squares give it the largest part.
    """
    crossed = jnp.einsum("brn,bsn->bsr", references, slots)
    inner = jnp.einsum("bsn,btn->bst", slots, slots)
    level = jnp.trace(inner, axis1=1, axis2=2)[:, None, None] / inner.shape[-1]
    ridge = (RIDGE * level + jnp.finfo(jnp.float32).tiny) * jnp.eye(inner.shape[-1])[None]
    parts = jnp.linalg.solve(inner + ridge, crossed)
    owners: jax.Array = jax.nn.one_hot(jnp.argmax(parts, axis=-1), references.shape[1], axis=1)
    return owners
