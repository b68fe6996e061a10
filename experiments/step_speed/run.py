"""How fast a training step is, next to the same network in PyTorch.

    python experiments/step_speed/run.py

Times a step of configs/paper.py (on a GPU a batch of 64 in bfloat16, on a CPU of 2 in float32) and
of configs/voices.py. If torch is installed, a process with its twin takes turns with ours.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from audioslots_jax.data.batch import Batch, crop_samples
from audioslots_jax.devices.throughput import peak_flops
from audioslots_jax.training import optimizers
from audioslots_jax.training.flops import shapes, training_flops
from audioslots_jax.training.state import TrainState
from audioslots_jax.training.step import make_task, train_step
from configs import paper, voices

HERE = Path(__file__).parent
Turn = Callable[[int], float]  # from a number of steps to the seconds that each takes
TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2}  # of the first losses and gradient norms


def main() -> None:
    """Prints a line for each config, and writes the times of all turns."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the twin needs memory on the same GPU
    device = jax.devices()[0]
    result: dict[str, Any] = {"device": device.device_kind, "jax": jax.__version__}
    for name, module in (("paper", paper), ("voices", voices)):
        config = module.get_config()
        if device.platform != "cpu":
            config.precision = "bfloat16"
        elif name == "paper":
            config.train.batch_size = 2
        result[name] = compare(config, flags.rounds)
        print(f"configs/{name}.py, {summary(result[name], device.device_kind)}", flush=True)
    path = HERE / "results" / f"{device.device_kind.replace(' ', '_')}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {path}")


def compare(config: ConfigDict, rounds: int, seconds: float = 1.0) -> dict[str, Any]:
    """Returns what a step is, and how many seconds it took in every round, here and in PyTorch."""
    shape = (config.train.batch_size, config.data.sources, crop_samples(config.data))
    sources = np.random.default_rng(0).normal(0, 0.05, shape).astype(np.float32)
    params = parameters(config)
    first, ours = start(config, params, sources)
    turns = {"jax": ours}
    with contextlib.ExitStack() as stack:
        if importlib.util.find_spec("torch"):
            theirs, turns["torch"] = start_twin(config, params, sources, stack)
            np.testing.assert_allclose(theirs, first, TOLERANCES[config.precision])
        steps = max(1, round(seconds / ours(1)))
        times = [{name: turn(steps) for name, turn in turns.items()} for _ in range(rounds)]
    return {
        "batch": shape[0],
        "precision": config.precision,
        "flops": training_flops(config),
        "seconds": {name: [turn[name] for turn in times] for name in turns},
    }


def summary(result: dict[str, Any], device_kind: str) -> str:
    """Returns a line about a config."""
    seconds, flops = result["seconds"], result["flops"]
    step = statistics.median(seconds["jax"])
    line = f"batch {result['batch']}, {result['precision']}: {1e3 * step:.1f} ms a step"
    if flops:
        line += f" of {flops / 1e9:,.1f} GFLOP, {flops / step / 1e12:.3g} TFLOP/s"
        if peak := peak_flops(device_kind):
            line += f", {flops / step / peak:.1%} of the bfloat16 peak"
    if "torch" not in seconds:
        return f"{line}; torch is not installed"
    ratios = [theirs / ours for theirs, ours in zip(seconds["torch"], seconds["jax"], strict=True)]
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    return f"{line}; torch takes {middle:.2f} of that ({low:.2f} to {high:.2f})"


def parameters(config: ConfigDict) -> Any:
    """Returns random parameters; those of a new model have scales of zero, which hide a lot."""
    random = np.random.default_rng(0)

    def draw(path: Any, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        leaf = path[-1].key
        spread = math.prod(shape.shape[:-1]) ** -0.5 if leaf == "kernel" else 0.02
        return random.normal(leaf == "scale", spread, shape.shape).astype(np.float32)

    return jax.tree.map_with_path(draw, shapes(config, make_task(config))[0].params)


def named(params: Any) -> dict[str, np.ndarray]:
    """Returns parameters, or gradients, by names such as ``encoder/root/kernel``."""
    leaves = jax.tree.leaves_with_path(params["params"])
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in leaves}


def start(config: ConfigDict, params: Any, sources: np.ndarray) -> tuple[list[float], Turn]:
    """Returns loss and gradient norm of our first step, and what makes more."""
    task, optimizer = make_task(config), optimizers.build(config)
    batch = jax.tree.map(jnp.asarray, Batch.of(sources))
    step = jax.jit(functools.partial(train_step, task, optimizer), donate_argnums=0)
    state = TrainState(jnp.int32(0), jax.tree.map(jnp.array, params), optimizer.init(params))
    state, values = step(state, batch)

    def turn(steps: int) -> float:
        nonlocal state
        started = time.perf_counter()
        for _ in range(steps):
            state, values = step(state, batch)
        jax.block_until_ready((state, values))
        return (time.perf_counter() - started) / steps

    return [float(values["loss"]), float(values["gradient_norm"])], turn


def start_twin(
    config: ConfigDict, params: Any, sources: np.ndarray, stack: contextlib.ExitStack
) -> tuple[list[float], Turn]:
    """Returns the same of a process with the twin, which ends with the stack."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (folder / "config.json").write_text(config.to_json_best_effort())
    np.savez(folder / "parameters.npz", **named(params))
    np.save(folder / "sources.npy", sources)
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    command = [sys.executable, str(HERE / "torch_twin.py"), str(folder), device]
    pipe = subprocess.PIPE
    process = stack.enter_context(
        subprocess.Popen(command, text=True, bufsize=1, stdin=pipe, stdout=pipe)
    )

    def answer() -> list[float]:
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the PyTorch twin stopped; its own message is above")
        return [float(number) for number in line.split()]

    def turn(steps: int) -> float:
        print(steps, file=process.stdin)
        return answer()[0]

    return answer(), turn


if __name__ == "__main__":
    main()
