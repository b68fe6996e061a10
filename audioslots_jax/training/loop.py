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
from jax.sharding import Mesh
from ml_collections import ConfigDict

from audioslots_jax.data import open_data
from audioslots_jax.data.pipeline import stream
from audioslots_jax.errors import Preempted, UserError
from audioslots_jax.training import evaluation, sharding
from audioslots_jax.training.checkpoints import Checkpoints, Window, placed
from audioslots_jax.training.config import check
from audioslots_jax.training.flops import training_flops
from audioslots_jax.training.preemption import Preemption
from audioslots_jax.training.processes import together
from audioslots_jax.training.report import main_scores, open_report
from audioslots_jax.training.state import TrainState, init_state, make_optimizer, make_schedule
from audioslots_jax.training.step import make_task, train_step
from audioslots_jax.training.throughput import Throughput, peak
from audioslots_jax.training.tracing import Trace
from audioslots_jax.training.workdir import CHECKPOINTS, claim

# Waiting for the step this far back bounds what is dispatched and has yet to run: several CPU
# devices deadlock with more than about 32 steps in flight, and accelerators are busy with two.
STEPS_IN_FLIGHT = 8


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
    mesh = sharding.make_mesh()
    together(lambda: check(config, mesh.size))
    data = together(lambda: open_data(config.data))
    claim(workdir, config, data.fingerprint)

    batch_size = config.train.batch_size
    rows = sharding.local_rows(mesh, batch_size)
    replicated, by_row = sharding.replicated(mesh), sharding.by_row(mesh)

    task = make_task(config, mesh)
    optimizer, schedule = make_optimizer(config), make_schedule(config)
    ema_decay = config.train.ema_decay
    size = task.size(data.train.samples)
    init = functools.partial(
        init_state, task.model, optimizer, size, config.seed, average=ema_decay > 0
    )
    abstract_state = jax.eval_shape(init)
    of_state = sharding.of_state(config.mesh, mesh, abstract_state)

    def step_once(state: TrainState, sources: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        learning_rate = schedule(state.step)
        state, values = train_step(
            task, optimizer, state, sources,
            micro_batches=config.train.micro_batches, ema_decay=ema_decay,
        )  # fmt: skip
        return state, values | {"learning_rate": learning_rate}

    step_fn = jax.jit(
        step_once,
        in_shardings=(of_state, by_row),
        out_shardings=(of_state, replicated),
        donate_argnums=0,
    )
    separate_fn = jax.jit(
        functools.partial(evaluation.separate, task, config.eval.mask),
        in_shardings=(of_state.scored, by_row),
        out_shardings=replicated,
    )

    checkpoints = Checkpoints(workdir / CHECKPOINTS, config.train.keep_checkpoints)
    restored = checkpoints.restore(placed(abstract_state, of_state))
    # The window holds the values of the steps since the last line of metrics.
    state, window = restored if restored else (jax.jit(init, out_shardings=of_state)(), [])
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
    held_out = evaluation.held_out_batches(data.held_out, config.eval.mixtures, batch_size, rows)

    def evaluate(params: Any) -> tuple[evaluation.Separated, dict[str, float]]:
        return evaluation.evaluate(
            lambda sources: separate_fn(params, sharding.place(sources, mesh)),
            held_out,
            config.eval.mixtures,
            config.eval.examples,
            autoencoder=task.slots == 1,
        )

    scores: dict[str, float] = {}
    throughput = Throughput(batch_size, flops=share_of_peak(config, mesh))
    with (
        # First, so that the signal is still heard while the last checkpoint is being written.
        Preemption() as preemption,
        contextlib.closing(checkpoints),
        contextlib.closing(batches),
        open_report(workdir, config, state) as report,
        Trace(workdir, config.profile, first_step, last_step) as trace,
        jax.transfer_guard("disallow"),
    ):
        in_flight: collections.deque[tuple[int, dict[str, jax.Array]]] = collections.deque()
        for step in range(first_step, last_step + 1):
            with throughput.waiting():
                own_rows = next(batches)
            with trace.step(step):
                state, values = step_fn(state, sharding.place(own_rows, mesh))
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
                    separated, scores = evaluate(state.scored)
                    report.evaluation(step, finite(step, scores), separated)
                if saves:
                    # Lines first: a checkpoint promises that all up to its step is on disk.
                    report.sync()
                    score = main_scores(scores)[1] if evaluates else None
                    with jax.transfer_guard("allow"):  # Orbax fetches the state
                        checkpoints.save(state, window, score)
            if stops and step < last_step:
                raise Preempted(step)
        if not scores:  # the run was finished before; tell its scores again
            separated, scores = evaluate(state.scored)
        report.finish(scores, separated)
    return scores


def share_of_peak(config: ConfigDict, mesh: Mesh) -> float | None:
    """A step's FLOPs over the FLOP/s of all devices at their peak; None where that is not known."""
    of_device = peak(mesh.devices.flat[0].device_kind)
    return None if of_device is None else training_flops(config) / (of_device * mesh.size)


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


def summary(window: Window) -> dict[str, float]:
    """The mean of every value over the steps of a window, and the last learning rate."""
    means = {name: float(np.mean([values[name] for values in window])) for name in window[0]}
    return means | {"learning_rate": window[-1]["learning_rate"]}
