"""Reconstructing the mixture alone, as slot models of images learn without any truth.

It is what the paper tried without separated sources, and found not to suffice (Reddy et al. 2023).
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from audioslots_jax.data.batch import Batch
from audioslots_jax.matching import Assign
from audioslots_jax.separator import Estimates, FrontEnd


@dataclasses.dataclass(frozen=True)
class MixtureMagnitude:
    """Mean squared error of the sum of the slots' compressed magnitudes, against the mixture's.

    Attributes:
      front_end: makes the mixture's magnitudes.
    """

    front_end: FrontEnd
    needs: ClassVar[str] = "mixture"

    def __call__(
        self, estimates: Estimates, batch: Batch, assign: Assign
    ) -> Float[Array, " batch"]:
        """Returns the loss of every mixture."""
        del assign
        painted = jnp.sum(estimates.magnitudes, axis=1)
        error = painted - self.front_end.magnitudes(batch.mixture)
        return jnp.mean(jnp.square(error), axis=(1, 2))
