"""Parameters and optimiser: the state of a training run."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from audioslots_jax.separator import Separator


class TrainState(NamedTuple):
    """Everything a step changes.

    Attributes:
      step: number of completed steps.
      params: the model's parameters.
      opt_state: the optimiser's state.
      average: the moving average of the parameters; empty where none is kept.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: Any
    average: Any = ()

    @property
    def scored(self) -> Any:
        """Returns the parameters to evaluate and to separate with: the average if there is one."""
        return self.average or self.params


def init_state(
    separator: Separator,
    optimizer: optax.GradientTransformation,
    samples: int,
    seed: int,
    *,
    average: bool = False,
) -> TrainState:
    """Returns the state before the first step, for crops of ``samples`` samples.

    With ``average`` it has a moving average of the parameters.
    """
    params = separator.init(jax.random.key(seed), samples)
    step, means = jnp.zeros((), jnp.int32), params if average else ()
    return TrainState(step, params, optimizer.init(params), means)
