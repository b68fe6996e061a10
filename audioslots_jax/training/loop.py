"""A training run, from a config to a scored model, as one story from top to bottom."""

import collections
import contextlib
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from audioslots_jax.data import open_data
from audioslots_jax.data.pipeline import stream
from audioslots_jax.errors import UserError
from audioslots_jax.training import evaluation
from audioslots_jax.training.checkpoints import Checkpoints, Window, abstract
from audioslots_jax.training.config import check
from audioslots_jax.training.report import Report, main_scores
from audioslots_jax.training.state import init_state, make_optimizer, make_schedule
from audioslots_jax.training.step import make_task, train_step
from audioslots_jax.training.workdir import CHECKPOINTS, claim

# Waiting for the step this far back bounds what is dispatched and has yet to run: several CPU
# devices deadlock with more than about 32 steps in flight, and accelerators are busy with two.
STEPS_IN_FLIGHT = 8


def train(config: ConfigDict, workdir: Path) -> dict[str, float]:
    """Trains the model of a config, or continues where the same command stopped.

    Args:
      config: as returned by a file in ``configs/``.
      workdir: where the run lives: checkpoints, metrics, events, pictures and wavs.

    Returns:
      The scores on the held-out mixtures after the last step, by name.

    Raises:
      UserError: for what a user can put right: config, recordings, workdir, a loss that explodes.
    """
    check(config, jax.device_count())
    data = open_data(config.data)
    claim(workdir, config, data.fingerprint)

    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    replicated = NamedSharding(mesh, PartitionSpec())
    by_row = NamedSharding(mesh, PartitionSpec("data"))

    task = make_task(config)
    optimizer = make_optimizer(config)
    size = task.size(data.train.samples)
    init = jax.jit(
        functools.partial(init_state, task.model, optimizer, size, config.seed),
        out_shardings=replicated,
    )
    step_fn = jax.jit(
        functools.partial(train_step, task, optimizer),
        in_shardings=(replicated, by_row),
        out_shardings=(replicated, replicated),
        donate_argnums=0,
    )
    separate_fn = jax.jit(
        functools.partial(evaluation.separate, task, config.eval.mask),
        in_shardings=(replicated, by_row),
    )

    checkpoints = Checkpoints(workdir / CHECKPOINTS, config.train.keep_checkpoints)
    restored = checkpoints.restore(abstract(jax.eval_shape(init), replicated))
    # The window holds the values of the steps since the last line of metrics.
    state, window = restored if restored else (init(), [])
    first_step, last_step = int(state.step) + 1, config.train.steps

    batches = stream(
        data.train,
        seed=config.seed,
        batch_size=config.train.batch_size,
        start=first_step,
        stop=last_step + 1,
        workers=config.data.workers,
    )
    held_out = evaluation.held_out_batches(
        data.held_out, config.eval.mixtures, config.train.batch_size
    )

    def evaluate(params: Any) -> tuple[evaluation.Separated, dict[str, float]]:
        return evaluation.evaluate(
            lambda sources: separate_fn(params, jax.device_put(sources, by_row)),
            held_out,
            config.eval.mixtures,
            config.eval.examples,
            autoencoder=task.slots == 1,
        )

    schedule = make_schedule(config)
    scores: dict[str, float] = {}
    with (
        contextlib.closing(checkpoints),
        contextlib.closing(batches),
        Report(workdir, config, state) as report,
    ):
        in_flight: collections.deque[tuple[int, dict[str, jax.Array]]] = collections.deque()
        for step in range(first_step, last_step + 1):
            batch = jax.device_put(next(batches), by_row)
            with jax.transfer_guard("disallow"):
                state, values = step_fn(state, batch)
            in_flight.append((step, values))

            logs = step % config.train.log_every == 0 or step == last_step
            evaluates = step % config.train.eval_every == 0 or step == last_step
            saves = evaluates or step % config.train.checkpoint_every == 0
            waits = logs or saves
            while in_flight and (waits or len(in_flight) > STEPS_IN_FLIGHT):
                done, values = in_flight.popleft()
                window.append(finite(done, jax.device_get(values)))
                report.progress(window[-1]["loss"])
            if logs:
                report.train(step, means(window), learning_rate=float(schedule(step - 1)))
                window = []
            if evaluates:
                separated, scores = evaluate(state.params)
                report.evaluation(step, finite(step, scores), separated)
            if saves:
                # Lines first: a checkpoint promises that everything up to its step is on disk.
                report.sync()
                checkpoints.save(state, window, main_scores(scores)[1] if evaluates else None)
        if not scores:  # the run was finished before; tell its scores again
            separated, scores = evaluate(state.params)
        report.finish(scores, separated)
    return scores


def finite(step: int, values: Mapping[str, Any]) -> dict[str, float]:
    """The values of a step as numbers, checked."""
    found = {name: float(value) for name, value in values.items()}
    if not all(map(math.isfinite, found.values())):
        shown = ", ".join(f"{name} {value:g}" for name, value in found.items())
        raise UserError(
            f"training stopped at step {step}, which is not finite ({shown}); lower "
            "train.learning_rate or set train.clip_norm, and use another --workdir."
        )
    return found


def means(window: Window) -> dict[str, float]:
    """The mean of every value over the steps of a window."""
    return {name: float(np.mean([values[name] for values in window])) for name in window[0]}
