"""A training run, from a config to a scored model, as one story from top to bottom."""

import collections
import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from audioslots_jax.compilation import INIT, announced, expected_seconds
from audioslots_jax.data import data_sets
from audioslots_jax.data.batch import Batch, Data, crop_samples
from audioslots_jax.data.level import mixture_level
from audioslots_jax.data.pipeline import stream
from audioslots_jax.devices import mesh as meshes
from audioslots_jax.devices.preemption import Preemption
from audioslots_jax.devices.processes import together
from audioslots_jax.devices.throughput import Throughput, peak_flops
from audioslots_jax.devices.tracing import Trace
from audioslots_jax.errors import Preempted, UserError
from audioslots_jax.evaluation.evaluators import (
    EVALUATORS,
    Evaluation,
    Evaluator,
    evaluate,
    held_out_batches,
)
from audioslots_jax.progress import waiting
from audioslots_jax.reports.examples import Examples
from audioslots_jax.reports.report import open_report
from audioslots_jax.training import optimizers
from audioslots_jax.training.checkpoints import Checkpoints, Window
from audioslots_jax.training.flops import training_flops
from audioslots_jax.training.settings import check, complete
from audioslots_jax.training.start import start_from
from audioslots_jax.training.state import TrainState, init_state
from audioslots_jax.training.step import Task, make_task, train_step, training_samples
from audioslots_jax.training.workdir import claim, remembered
from audioslots_jax.workdir import CHECKPOINTS, DataRecord

# Waiting for the step this far back bounds what is dispatched and has yet to run: several CPU
# devices deadlock with more than about 32 steps in flight, and accelerators are busy with two.
STEPS_IN_FLIGHT = 8
# Validation mixtures whose level stands for that of the training's mixtures.
LEVEL_MIXTURES = 64


def train(config: ConfigDict, workdir: Path) -> dict[str, float]:
    """Trains the model of a config, or continues where the same command stopped.

    With several processes (`jax.distributed`) every one of them calls this with the same config,
    and a workdir on a file system that all of them see.

    Args:
      config: as returned by a file in ``configs/``.
      workdir: where the run lives: checkpoints, metrics, events, pictures and wavs.

    Returns:
      The scores on the held-out mixtures after the last step, by name.

    Raises:
      UserError: for what a user can put right: config, recordings, workdir, a loss that explodes.
      Preempted: after SIGTERM, when the step under way is done and saved.
    """
    mesh = meshes.make_mesh()
    config = together(lambda: complete(config))
    together(lambda: check(config, mesh.size))
    data, record = together(lambda: open_data(config, workdir))
    claim(workdir, config, record)

    batch_size = config.train.batch_size
    rows = meshes.local_rows(mesh, batch_size)
    replicated, by_row = meshes.replicated(mesh), meshes.by_row(mesh)

    task = make_task(config, mesh)
    optimizer, schedule = optimizers.build(config), optimizers.make_schedule(config)
    ema_decay = config.train.ema_decay
    init = functools.partial(
        init_state, task.separator, optimizer, crop_samples(config.data), config.seed,
        average=ema_decay > 0,
    )  # fmt: skip
    of_state = meshes.of_state(config.mesh, mesh, jax.eval_shape(init))
    init_on_mesh = jax.jit(init, out_shardings=of_state)

    def first_state() -> TrainState:
        with waiting("drawing the parameters") as expect:
            expect(expected_seconds(init_on_mesh.lower(), INIT))
            state, model = init_on_mesh(), config.train.start_from
        return together(lambda: start_from(state, model)) if model else state

    def step_once(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        learning_rate = schedule(state.step)
        state, values = train_step(
            task, optimizer, state, batch, seed=config.seed,
            micro_batches=config.train.micro_batches, ema_decay=ema_decay,
        )  # fmt: skip
        return state, values | {"learning_rate": learning_rate}

    step_fn = announced(
        jax.jit(
            step_once,
            in_shardings=(of_state, by_row),
            out_shardings=(of_state, replicated),
            donate_argnums=0,
        ),
        "compiling the step",
    )
    evaluators = {
        names: announced(
            jax.jit(evaluator, in_shardings=(of_state.scored, by_row), out_shardings=replicated),
            f"compiling the evaluation of {names[0]}",
        )
        for names, evaluator in make_evaluators(config, task).items()
    }

    checkpoints = Checkpoints(workdir / CHECKPOINTS, config.train.keep_checkpoints)
    with waiting("looking for a checkpoint, and reading it"):
        restored = checkpoints.restore(jax.eval_shape(init_on_mesh))
    # The window holds the values of the steps since the last line of metrics.
    state, window = restored or (first_state(), [])
    first_step, last_step = int(state.step) + 1, config.train.steps

    batches = stream(
        data.train,
        seed=config.seed,
        batch_size=batch_size,
        start=first_step,
        stop=last_step + 1,
        rows=rows,
        workers=config.data.workers,
    )
    held_out = together(
        lambda: held_out_batches(data.validation, config.eval.mixtures, batch_size, rows)
    )

    def score(params: Any) -> tuple[dict[str, float], Examples | None]:
        def of_batch(evaluator: Callable[..., Evaluation]) -> Callable[[Batch], Evaluation]:
            return lambda batch: evaluator(params, meshes.place(batch, mesh))

        each = {names: of_batch(evaluator) for names, evaluator in evaluators.items()}
        return evaluate(each, held_out, config.eval.mixtures, config.eval.examples)

    scores: dict[str, float] = {}
    throughput = Throughput(batch_size, flops=share_of_peak(config, mesh))
    with (
        # First, so that the signal is still heard while the last checkpoint is being written.
        Preemption() as preemption,
        contextlib.closing(checkpoints),
        contextlib.closing(batches),
        open_report(workdir, config, int(state.step), state.params) as report,
        Trace(workdir, config.profile, first_step, last_step) as trace,
        jax.transfer_guard("disallow"),
    ):
        in_flight: collections.deque[tuple[int, dict[str, jax.Array]]] = collections.deque()
        for step in range(first_step, last_step + 1):
            with throughput.waiting():
                own_rows = next(batches)
            with trace.step(step):
                state, values = step_fn(state, meshes.place(own_rows, mesh))
            in_flight.append((step, values))

            stops = preemption.stops(step)
            logs = step % config.train.log_every == 0 or step == last_step
            evaluates = step % config.train.eval_every == 0 or step == last_step
            saves = evaluates or stops or step % config.train.checkpoint_every == 0
            waits = logs or saves or trace.waits_after(step)
            while in_flight and (waits or len(in_flight) > STEPS_IN_FLIGHT):
                done, values = in_flight.popleft()
                window.append(finite(done, jax.device_get(values)))
                report.progress(window[-1]["loss"])
            if logs:
                report.train(step, summary(window), throughput.read())
                window = []
            with throughput.paused():
                trace.end_after(step)
                if evaluates:
                    scores, examples = score(state.scored)
                    report.evaluation(step, finite(step, scores), examples)
                if saves:
                    # Lines first: a checkpoint promises that all up to its step is on disk.
                    report.sync()
                    leading = scores.get(next(iter(evaluators))[0]) if evaluates else None
                    with jax.transfer_guard("allow"):  # Orbax fetches the state
                        checkpoints.save(state, window, leading)
            if stops and step < last_step:
                raise Preempted(step)
        if not scores:  # the run was finished before; tell its scores again
            scores, examples = score(state.scored)
        report.finish(scores, examples)
    return scores


def open_data(config: ConfigDict, workdir: Path) -> tuple[Data, DataRecord]:
    """Opens the data of a run, with those held out who were so before.

    Returns:
      The data, and what the run is to remember of it.

    Raises:
      UserError: if the data cannot be used.
    """
    before = remembered(workdir)
    data_set = data_sets.make(config.data)
    data = data_set.open(before.held_out)
    if training_samples(config) > crop_samples(data_set):
        seconds = training_samples(config) / data_set.sample_rate
        longer = dataclasses.replace(data_set, crop_seconds=seconds)  # type: ignore[type-var]
        data = data._replace(train=longer.open(data.held_out).train)
    level = before.level or mixture_level(data.validation, LEVEL_MIXTURES)
    return data, DataRecord(data.fingerprint, level, data.held_out)


def make_evaluators(config: ConfigDict, task: Task) -> dict[tuple[str, ...], Evaluator]:
    """Returns the evaluators of a config by the names of their scores, in its order."""
    made = [EVALUATORS[name](task.separator, task.objectives) for name in config.eval.evaluators]
    return {evaluator.scores: evaluator for evaluator in made}


def share_of_peak(config: ConfigDict, mesh: Mesh) -> float | None:
    """Returns a step's FLOPs over the FLOP/s of all devices at their peak, if both are known."""
    of_device = peak_flops(mesh.devices.flat[0].device_kind)
    flops = None if of_device is None else training_flops(config)
    return None if of_device is None or flops is None else flops / (of_device * mesh.size)


def finite(step: int, values: Mapping[str, Any]) -> dict[str, float]:
    """Returns the values of a step as numbers.

    Raises:
      UserError: if one of them is not finite.
    """
    numbers = {name: float(value) for name, value in values.items()}
    if not all(map(math.isfinite, numbers.values())):
        shown = ", ".join(f"{name} {value:g}" for name, value in numbers.items())
        raise UserError(
            f"training stopped at step {step}, which is not finite ({shown}); lower "
            "train.learning_rate or set train.clip_norm, and use another --workdir."
        )
    return numbers


def summary(window: Window) -> dict[str, float]:
    """Returns the mean of every value over the steps of a window, and the last learning rate."""
    means = {name: float(np.mean([values[name] for values in window])) for name in window[0]}
    return means | {"learning_rate": window[-1]["learning_rate"]}
