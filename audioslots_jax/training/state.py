"""Parameters and optimiser: the state of a training run."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int
from ml_collections import ConfigDict

from audioslots_jax.models import AudioSlots


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
        """The parameters to evaluate and to separate with: the average where there is one."""
        return self.average or self.params


def make_schedule(config: ConfigDict) -> optax.Schedule:
    """Linear warm-up, then cosine decay to zero at the last step (paper, section 3).

    A run with fewer steps than the warm-up ends in the middle of it.
    """
    warmup = config.train.warmup_steps
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.train.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(config.train.steps, warmup + 1),
    )


def make_optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Adam; with ``train.clip_norm`` above 0, of gradients clipped to that global norm."""
    adam = optax.adam(make_schedule(config))
    clip = config.train.clip_norm
    return optax.chain(optax.clip_by_global_norm(clip), adam) if clip else adam


def init_state(
    model: AudioSlots,
    optimizer: optax.GradientTransformation,
    size: tuple[int, int],
    seed: int,
    *,
    average: bool = False,
) -> TrainState:
    """The state before the first step.

    Args:
      model: the network.
      optimizer: of its parameters.
      size: (frequency bins, frames) of the spectrograms.
      seed: of the parameters.
      average: whether to keep a moving average of them.
    """
    params = model.init(jax.random.key(seed), jnp.zeros((1, *size)))
    return TrainState(
        jnp.zeros((), jnp.int32), params, optimizer.init(params), params if average else ()
    )
