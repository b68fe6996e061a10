"""The paper's loss (section 2): squared error of matched power-compressed spectrograms."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from audioslots_jax.data.batch import Batch
from audioslots_jax.matching import Assign
from audioslots_jax.objectives.matched import matched_mean
from audioslots_jax.separator import Estimates, FrontEnd


@dataclasses.dataclass(frozen=True)
class MatchedMagnitude:
    """Mean squared error of compressed magnitudes under the best assignment.

    Attributes:
      front_end: makes the sources' magnitudes, like those that the model sees.
    """

    front_end: FrontEnd

    def __call__(
        self, estimates: Estimates, batch: Batch, assign: Assign
    ) -> Float[Array, " batch"]:
        """Returns the loss of every mixture."""
        targets = self.front_end.magnitudes(batch.sources)
        return matched_mean(pairwise_mse(targets, estimates.magnitudes), batch.present, assign)


def pairwise_mse(
    targets: Float[Array, "batch source *value"], estimates: Float[Array, "batch slot *value"]
) -> Float[Array, "batch source slot"]:
    """Returns the mean squared error between every target and every estimate."""
    difference = targets[:, :, None] - estimates[:, None, :]
    return jnp.mean(jnp.square(difference), axis=tuple(range(3, difference.ndim)))
