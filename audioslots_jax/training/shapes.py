"""What a config trains, as shapes: nothing is allocated, compiled or read."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from audioslots_jax.training.state import TrainState, init_state, make_optimizer
from audioslots_jax.training.step import Task, make_task


class Shapes(NamedTuple):
    """A training step's function and what it reads.

    Attributes:
      task: of the config.
      state: the `TrainState`, with a `jax.ShapeDtypeStruct` for each array.
      sources: a batch, (row, source, sample).
    """

    task: Task
    state: TrainState
    sources: jax.ShapeDtypeStruct


def shapes(config: ConfigDict) -> Shapes:
    """The shapes of a config that `config.check` accepts."""
    task = make_task(config)
    samples = round(config.data.crop_seconds * config.data.sample_rate)
    size = task.size(samples)
    init = functools.partial(
        init_state, task.model, make_optimizer(config), size, config.seed,
        average=config.train.ema_decay > 0,
    )  # fmt: skip
    batch = (config.train.batch_size, config.data.sources, samples)
    return Shapes(task, jax.eval_shape(init), jax.ShapeDtypeStruct(batch, jnp.float32))
