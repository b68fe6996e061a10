"""What it is worth that a training on a CPU keeps the memory it frees; see README.md.

python experiments/cpu_memory/run.py
"""

import argparse
import functools
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from audioslots_jax.devices.memory import keep_freed_memory
from audioslots_jax.flags import load_config

ROOT = Path(__file__).parents[2]
CONFIGS = ("voices", "compact")
Turn = tuple[float, float]  # seconds and page faults of a step


def main() -> None:
    """Prints a line for each config, and writes all turns."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="in a turn")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    result: dict[str, Any] = {"cores": os.cpu_count(), "machine": platform.machine()}
    for name in CONFIGS:
        turns = take_turns(name, options.rounds, options.steps)
        ratios = [given[0] / kept[0] for given, kept in zip(*turns.values(), strict=True)]
        medians = {
            how: [statistics.median(x) for x in zip(*turns[how], strict=True)] for how in turns
        }
        result[name] = {"turns": turns, "median_ratio": statistics.median(ratios)}
        shown = ", ".join(f"{how} {s:.3f} s and {f:,.0f} faults" for how, (s, f) in medians.items())
        print(f"{name}: a step takes {shown}; ratio {statistics.median(ratios):.2f}", flush=True)
    path = options.output / f"{platform.machine()}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


def take_turns(name: str, rounds: int, steps: int) -> dict[str, list[Turn]]:
    """Returns what the steps of two processes take, one after the other, in every round."""
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for how in ("given back", "kept"):
        pipes[how], theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, name, how == "kept"), daemon=True).start()
        turn(pipes[how], steps)
    turns: dict[str, list[Turn]] = {how: [] for how in pipes}
    for _ in range(rounds):
        for how, pipe in pipes.items():
            turns[how].append(turn(pipe, steps))
    for pipe in pipes.values():
        pipe.send(0)
    return turns


def turn(pipe: Connection, steps: int) -> Turn:
    """Returns seconds and page faults of a step, the mean of some."""
    pipe.send(steps)
    taken: Turn = pipe.recv()
    return taken


def serve(pipe: Connection, name: str, keeps: bool) -> None:
    """Trains on noise for as many steps as it is told to, until these are 0."""
    if keeps:
        keep_freed_memory()

    import jax
    import jax.numpy as jnp
    import numpy as np

    from audioslots_jax.data.batch import Batch, crop_samples
    from audioslots_jax.training import optimizers
    from audioslots_jax.training.state import init_state
    from audioslots_jax.training.step import make_task, train_step

    config = load_config(str(ROOT / "configs" / f"{name}.py"), [])
    samples = crop_samples(config.data)
    shape = (config.train.batch_size, config.data.sources, samples)
    sources = np.random.default_rng(0).normal(0, 0.05, shape).astype(np.float32)
    batch = Batch(sources.sum(axis=1), sources, np.ones(shape[:2], bool))
    task, optimizer = make_task(config), optimizers.build(config)
    state = init_state(task.separator, optimizer, samples, seed=0)
    step = jax.jit(functools.partial(train_step, task, optimizer, seed=0), donate_argnums=0)
    batch = jax.tree.map(jnp.asarray, batch)
    while steps := pipe.recv():
        faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        for _ in range(steps):
            state, _ = step(state, batch)
        jax.block_until_ready(state)
        seconds = time.perf_counter() - start
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
        pipe.send((seconds / steps, faults / steps))


if __name__ == "__main__":
    main()
