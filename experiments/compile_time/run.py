"""How long XLA takes to compile trainings: ``python experiments/compile_time/run.py``."""

import argparse
import functools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).parents[2]))

from audioslots_jax.compilation import INIT, STEP, expected_seconds
from audioslots_jax.data.batch import Batch, crop_samples
from audioslots_jax.training import optimizers
from audioslots_jax.training.loop import make_evaluators
from audioslots_jax.training.settings import complete
from audioslots_jax.training.state import init_state
from audioslots_jax.training.step import make_task, train_step
from configs import compact, voices

CONFIGS = {
    "voices": voices.get_config,
    "voices:mask": functools.partial(voices.get_config, "mask"),
    "voices:slot_attention": functools.partial(voices.get_config, "slot_attention"),
    "voices:mask,count": functools.partial(voices.get_config, "mask,count"),
    "compact": compact.get_config,
}


def main() -> None:
    """Prints a table, and writes it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("configs", nargs="*", choices=[[], *CONFIGS], help="all by default")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    lines = [
        "| config | program | assignments | seconds | ms for each | expected |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in options.configs or CONFIGS:
        for program, lowered in programs(CONFIGS[name]()):
            assignment = INIT if program == "parameters" else STEP
            count, about = expected_seconds(lowered, 1.0), expected_seconds(lowered, assignment)
            start = time.perf_counter()
            lowered.compile()
            seconds = time.perf_counter() - start
            lines.append(
                f"| {name} | {program} | {count:.0f} | {seconds:.1f} | "
                f"{1e3 * seconds / count:.2f} | {about:.1f} |"
            )
            print(lines[-1], flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "seconds.md").write_text("\n".join(lines) + "\n")


def programs(config: ConfigDict) -> Iterator[tuple[str, Any]]:
    """Yields what a training compiles, by name: lowered, and not compiled yet."""
    if "root" in config.data:
        config.data.root = "nowhere"  # nothing is read
    config = complete(config)
    task, optimizer, data = make_task(config), optimizers.build(config), config.data
    samples, rows = crop_samples(data), config.train.batch_size
    init = functools.partial(init_state, task.separator, optimizer, samples, 0)
    yield "parameters", jax.jit(init).lower()
    state = jax.eval_shape(init)
    array = jax.ShapeDtypeStruct
    batch = Batch(
        array((rows, samples), jnp.float32),
        array((rows, data.sources, samples), jnp.float32),
        array((rows, data.sources), jnp.bool_),
    )
    step = functools.partial(train_step, task, optimizer)
    yield "step", jax.jit(step, donate_argnums=0).lower(state, batch)
    for names, evaluator in make_evaluators(config, task).items():
        yield f"evaluation of {names[0]}", jax.jit(evaluator).lower(state.params, batch)


if __name__ == "__main__":
    main()
