"""Deep clustering (Hershey et al. 2016): cells of one source have embeddings of one direction."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from audioslots_jax.data.batch import Batch
from audioslots_jax.errors import UserError
from audioslots_jax.matching import Assign
from audioslots_jax.separator import Estimates, FrontEnd

SMALLEST = 1e-6  # length of an embedding, and weight of a mixture, that count as none


@dataclasses.dataclass(frozen=True)
class Affinity:
    """Squared error of the affinity of all pairs of cells: 1 for one source's, 0 for two sources'.

    Cells count as much as the mixture's compressed magnitude there. It supervises the encoder at
    every cell, before any slot exists, so it needs no assignment.

    Attributes:
      front_end: makes the spectrograms that say whose a cell is.
    """

    front_end: FrontEnd

    def __call__(
        self, estimates: Estimates, batch: Batch, assign: Assign
    ) -> Float[Array, " batch"]:
        """Returns the loss of every mixture, from 0 to 2."""
        del assign
        if "embeddings" not in estimates.named:
            raise UserError(
                "config.objectives.affinity needs an encoder that has embeddings of cells, such as "
                "frames with config.model.encoder.embedding above 0."
            )
        embeddings = estimates.named["embeddings"].astype(jnp.float32)
        norms = jnp.sqrt(jnp.sum(jnp.square(embeddings), axis=-1, keepdims=True) + SMALLEST**2)
        cells = (embeddings / norms).reshape(len(embeddings), -1, embeddings.shape[-1])
        weights = self.front_end.magnitudes(batch.mixture)
        weights = jnp.swapaxes(weights, 1, 2).reshape(len(cells), -1)
        magnitudes = self.front_end.magnitudes(batch.sources)
        magnitudes = jnp.transpose(magnitudes, (0, 3, 2, 1)).reshape(*cells.shape[:2], -1)
        # One cell is one source's: the loudest there.
        loudest = jnp.argmax(magnitudes, axis=-1, keepdims=True)
        owners = (loudest == jnp.arange(magnitudes.shape[-1])[None, None]).astype(jnp.float32)
        return affinity_loss(cells, owners, weights)


def affinity_loss(
    cells: Float[Array, "batch cell embedding"],
    owners: Float[Array, "batch cell source"],
    weights: Float[Array, "batch cell"],
) -> Float[Array, " batch"]:
    """Returns ``sum_ij w_i w_j (v_i . v_j - y_i . y_j)^2 / (sum_i w_i)^2``.

    It is ``|V'WV|^2 - 2 |V'WY|^2 + |Y'WY|^2``, whose matrices are small, without any pair of cells.
    """
    total = jnp.sum(weights, axis=1, keepdims=True)
    weights = (weights / jnp.maximum(total, SMALLEST))[..., None]

    def energy(x: Float[Array, "batch cell a"], y: Float[Array, "batch cell b"]) -> Array:
        return jnp.sum(jnp.square(jnp.einsum("bca,bcd->bad", x * weights, y)), axis=(1, 2))

    return energy(cells, cells) - 2 * energy(cells, owners) + energy(owners, owners)
