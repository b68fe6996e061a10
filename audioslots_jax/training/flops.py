"""What a step trains, as shapes, and its floating-point operations, as XLA counts them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from audioslots_jax.data.batch import Batch
from audioslots_jax.training import optimizers
from audioslots_jax.training.state import TrainState, init_state
from audioslots_jax.training.step import Task, make_task, training_samples


def shapes(config: ConfigDict, task: Task) -> tuple[TrainState, Batch]:
    """Returns the state and the batch of a complete config, with shapes in the place of arrays."""
    samples = training_samples(config)
    rows = (config.train.batch_size, config.data.sources)

    def make() -> tuple[TrainState, Batch]:
        state = init_state(
            task.separator, optimizers.build(config), samples, config.seed,
            average=config.train.ema_decay > 0,
        )  # fmt: skip
        mixture, sources = jnp.zeros((rows[0], samples)), jnp.zeros((*rows, samples))
        return state, Batch(mixture, sources, jnp.ones(rows, bool))

    return jax.eval_shape(make)


def training_flops(config: ConfigDict) -> float | None:
    """Returns the operations of a step: of the loss of a whole batch and of its gradient.

    All are counted, elementwise ones too, but what a host callback does and what the optimiser
    does. XLA counts the body of a loop once, so the count is of the same step without
    rematerialisation (whose loop repeats what is counted) and without micro-batches, and the chunks
    of a sequence are unrolled. XLA counts what is lowered for a CPU alone; where JAX has none
    (``JAX_PLATFORMS``), None is returned.
    """
    config = config.copy_and_resolve_references()
    config.train.remat_decoder = False
    task = make_task(config)
    if task.sequence is not None:
        task = dataclasses.replace(task, sequence=dataclasses.replace(task.sequence, unroll=True))
    state, batch = shapes(config, task)

    def gradient(params: Any, batch: Batch) -> Any:
        return jax.value_and_grad(task.loss)(params, batch, jax.random.key(0))

    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
    with jax.default_device(device):
        counts: Any = jax.jit(gradient).lower(state.params, batch).cost_analysis()
    return float(counts["flops"])
