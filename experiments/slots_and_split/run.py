"""Slots against a plain split, at equal minutes; see README.md.

python experiments/slots_and_split/run.py --time --data=STORE
python experiments/slots_and_split/run.py split 0 --data=STORE --minutes=5
python experiments/slots_and_split/run.py --table
"""

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.data import data_sets
from audioslots_jax.devices.memory import keep_freed_memory
from audioslots_jax.training import optimizers
from audioslots_jax.training.loop import train
from audioslots_jax.training.settings import complete
from audioslots_jax.training.state import init_state
from audioslots_jax.training.step import make_task, train_step
from configs import compact
from experiments.compact.score import card, dev_mixtures
from experiments.slots_and_split.variants import VARIANTS, register

RESULTS = Path(__file__).parent / "results"
SECONDS = RESULTS / "seconds_per_step.json"
CURVE = 5  # points of a learning curve


def make_config(variant: str, seed: int, data: Path) -> ConfigDict:
    """Returns the config of a run; all variants share everything but the parts of the model."""
    config = compact.get_config()
    config.seed, config.data.root = seed, str(data)
    for name, section in VARIANTS[variant].items():
        config.model[name] = section
    return config


def seconds_per_step(data: Path, steps: int = 30) -> dict[str, float]:
    """Returns the median time of a step of every variant, taken in turns."""
    steppers = {variant: _stepper(make_config(variant, 0, data)) for variant in VARIANTS}
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(steps):
        for variant, step in steppers.items():
            start = time.perf_counter()
            step()
            times[variant].append(time.perf_counter() - start)
    return {variant: round(statistics.median(each), 4) for variant, each in times.items()}


def _stepper(config: ConfigDict) -> Callable[[], None]:
    """Returns a function that makes one step, compiled, on a batch that waits in memory."""
    config = complete(config)
    task, optimizer = make_task(config), optimizers.build(config)
    data = data_sets.make(config.data).open()
    batch = data.train.batch(0, 1, range(config.train.batch_size), config.train.batch_size)
    init = functools.partial(init_state, task.separator, optimizer, batch.mixture.shape[1], 0)
    state = jax.jit(init)()
    jitted = jax.jit(functools.partial(train_step, task, optimizer), donate_argnums=0)

    def step() -> None:
        nonlocal state
        state, values = jitted(state, batch)
        jax.block_until_ready(values)

    step()
    return step


def measure(variant: str, seed: int, data: Path, minutes: float, mixtures: int) -> dict:
    """Returns the scores of a run of so many minutes, and its learning curve."""
    config = make_config(variant, seed, data)
    each = json.loads(SECONDS.read_text())[variant]
    steps = max(int(60 * minutes / each), 1)
    every = max(steps // CURVE, 1)
    config.train.update(steps=steps, eval_every=every, checkpoint_every=steps)
    config.train.warmup_steps = min(config.train.warmup_steps, steps)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train(config, Path(folder) / "run")
        trained = (time.perf_counter() - start) / 60
        separator = audioslots_jax.load(Path(folder) / "run")
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
    curve = [line for line in map(json.loads, lines) if "eval/si_snri" in line]
    scores = card(separator, dev_mixtures(data / "dev", separator.sample_rate, mixtures))
    return {
        "variant": variant,
        "seed": seed,
        "steps": steps,
        "minutes": minutes,
        "minutes_with_start_scores_and_other_load": round(trained, 2),
        "parameters": sum(np.size(x) for x in jax.tree.leaves(separator.params)),
        "validation": {line["step"]: round(line["eval/si_snri"], 3) for line in curve},
        "dev": scores,
    }


def table(results: Path) -> str:
    """Returns the means over seeds of all runs in a folder."""
    runs = [json.loads(path.read_text()) for path in sorted(results.glob("*-*.json"))]
    seconds = json.loads(SECONDS.read_text())
    titles = "| variant | parameters | s / step | steps | seeds | dev SI-SNRi |"
    lines = [titles, "| --- " * 6 + "|"]
    for variant in VARIANTS:
        own = [run for run in runs if run["variant"] == variant]
        if own:
            scores = np.array([run["dev"]["si_snri"] for run in own])
            error = f"{scores.std(ddof=1) / len(own) ** 0.5:.2f}" if len(own) > 1 else "?"
            each = seconds[variant]
            steps = statistics.mean(run["steps"] for run in own)
            lines.append(
                f"| {variant} | {own[0]['parameters']:,} | {each:.2f} | {steps:.0f} | {len(own)} | "
                f"{scores.mean():.2f} ± {error} dB |"
            )
    return "\n".join(lines)


def main() -> None:
    """Times steps, measures one run or prints the table; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("variant", nargs="?", choices=VARIANTS)
    parser.add_argument("seed", nargs="?", type=int, default=0)
    parser.add_argument("--data", type=Path, help="a store with train/ and dev/")
    parser.add_argument("--minutes", type=float, default=5.0, help="of steps alone")
    parser.add_argument("--mixtures", type=int, default=192)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--time", action="store_true", help="times steps, with nothing beside it")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    if options.table:
        print(table(options.output))
        return
    register()
    if options.time:
        RESULTS.mkdir(exist_ok=True)
        SECONDS.write_text(json.dumps(seconds_per_step(options.data), indent=2) + "\n")
        print(SECONDS.read_text())
        return
    result = measure(options.variant, options.seed, options.data, options.minutes, options.mixtures)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{options.variant}-{options.seed}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    keep_freed_memory()
    main()
