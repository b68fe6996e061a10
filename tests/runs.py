"""Runs of `main.py` that nobody waited for."""

import functools

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict, FrozenConfigDict

from audioslots_jax.data.batch import crop_samples
from audioslots_jax.training import optimizers
from audioslots_jax.training.checkpoints import Checkpoints
from audioslots_jax.training.settings import complete
from audioslots_jax.training.state import TrainState, init_state
from audioslots_jax.training.step import make_task
from audioslots_jax.training.workdir import claim
from audioslots_jax.workdir import DataRecord


def new_state(config: ConfigDict, *, average: bool = False) -> TrainState:
    """The state of a new model, made once for each config."""
    return _new_state(FrozenConfigDict(config), average)


@functools.cache
def _new_state(config: FrozenConfigDict, average: bool) -> TrainState:
    task, samples = make_task(config), crop_samples(config.data)
    init = functools.partial(
        init_state, task.separator, optimizers.build(config), samples, seed=0, average=average
    )
    return jax.jit(init)()


def make_run(workdir, config: ConfigDict, scores=(None,), record=None):
    """A run with a checkpoint for each score, whose parameters are those of a new model."""
    record = record or DataRecord("", 0.0, {})
    claim(workdir, complete(config), record)
    state = new_state(config)
    checkpoints = Checkpoints(workdir / "checkpoints", keep=10)
    for step, score in enumerate(scores, start=1):
        scaled = jax.tree.map(lambda x: x * step, state.params)  # noqa: B023 (called at once)
        checkpoints.save(state._replace(step=jnp.int32(step), params=scaled), [], score)
    checkpoints.close()
    return state
