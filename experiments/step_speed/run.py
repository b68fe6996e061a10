"""How fast a training step is, what each choice brings, and the same network in PyTorch.

    python experiments/step_speed/run.py

On a GPU the paper's config at batch 64, on a CPU at batch 2; then configs/voices.py. Every
contender takes turns with ours, and its time is told as a multiple of ours: the median and range
over the rounds, and that of both their fastest turns. The PyTorch twin, if torch is installed, runs
in a process of its own.
"""

import argparse
import contextlib
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from audioslots_jax import matching
from audioslots_jax.training.flops import training_flops
from audioslots_jax.training.state import TrainState, init_state, make_optimizer
from audioslots_jax.training.step import Task, make_task, train_step
from audioslots_jax.training.throughput import peak
from configs import paper, voices
from experiments.step_speed import roofline, variants
from experiments.step_speed.variants import Variant

CONFIGS = {"paper": paper.get_config, "voices": voices.get_config}
TWIN = Path(__file__).with_name("torch_twin.py")
# Of first losses and gradient norms.
TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", choices=CONFIGS, help="default: both, one after the other")
    parser.add_argument("--batch", type=int, help="of the paper's config (default: 64; CPU: 2)")
    parser.add_argument(
        "--precision", choices=TOLERANCES, help="default: bfloat16, on a CPU float32"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn, or one step")
    parser.add_argument("--only", default="", help="contenders with this in their name")
    parser.add_argument("--quick", action="store_true", help="a network that takes no time")
    flags = parser.parse_args()
    # Compilation is measured, and the twin needs memory on the same GPU.
    jax.config.update("jax_enable_compilation_cache", False)
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    device = jax.devices()[0]
    print(f"{device.device_kind}, jax {jax.__version__}\n")
    for name in [flags.config] if flags.config else CONFIGS:
        config = CONFIGS[name]()
        on_cpu = device.platform == "cpu"
        config.precision = flags.precision or ("float32" if on_cpu else "bfloat16")
        if name == "paper":
            config.train.batch_size = flags.batch or (2 if on_cpu else 64)
        if flags.quick:
            shrink(config)
        compare(name, config, flags)
    print(roofline.table(paper.get_config(), 64))


def shrink(config: ConfigDict) -> None:
    """Leaves one small block of each kind."""
    config.data.crop_seconds = 0.12
    config.model.encoder.update(
        blocks=(1,), widths=(16,), strides=(2,), root_width=8, root_stride=2, groups=4
    )
    config.model.slot_module.update(slot_size=16, layers=2, width=16, heads=2, mlp=16)
    config.model.decoder.update(layers=2, width=8)
    config.train.batch_size = 2


def compare(name: str, config: ConfigDict, flags: argparse.Namespace) -> None:
    """Prints the table of a config."""
    place = f"{jax.default_backend()} {name}"
    contenders = [variants.TWIN, *variants.of(config, place)]
    contenders = [variant for variant in contenders if flags.only in variant.name]
    if variants.TWIN in contenders and importlib.util.find_spec("torch") is None:
        print("without torch, which is not installed, its row is missing\n")
        contenders.remove(variants.TWIN)
    samples = round(config.data.crop_seconds * config.data.sample_rate)
    sources = noise(config.train.batch_size, config.data.sources, samples)
    params = parameters(make_task(config), samples)
    ours = Compiled(config, variants.OURS, params, sources)
    steps = max(1, round(flags.seconds / ours.turn(1)))
    print(f"configs/{name}.py, batch {len(sources)}, {config.precision}: ", end="")
    print(f"{flags.rounds} rounds of {steps} steps each\n")
    columns = ("step, in ours", "predicted", "median", "range", "fastest", "compilation, s")
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    own: list[float] = []
    for variant in contenders:
        with contender(config, variant, params, sources) as other:
            np.testing.assert_allclose(
                other.first, ours.first, TOLERANCES[config.precision], err_msg=variant.name
            )
            turns = [(other.turn(steps), ours.turn(steps)) for _ in range(flags.rounds)]
        predicted = variant.predicted[variants.PLACES.index(place)]
        cells = (variant.name, f"{predicted:.2f}", *ratios(turns))
        print("| " + " | ".join(cells) + f" | {other.compilation:.1f} |", flush=True)
        own += [mine for _, mine in turns]
    step = statistics.median(own)
    print(f"\nours: compiled in {ours.compilation:.1f} s; {rate(config, step)}")
    print(f"matching alone: {matching_alone(config, step)}\n", flush=True)


def ratios(turns: list[tuple[float, float]]) -> tuple[str, str, str]:
    """A contender's time over ours: median and range over the rounds, and fastest over fastest."""
    found = [theirs / mine for theirs, mine in turns]
    theirs, mine = map(min, zip(*turns, strict=True))
    median = statistics.median(found)
    return f"{median:.2f}", f"{min(found):.2f} to {max(found):.2f}", f"{theirs / mine:.2f}"


def rate(config: ConfigDict, step: float) -> str:
    """What a step of so many seconds means."""
    flops, of_device = training_flops(config), peak(jax.devices()[0].device_kind)
    told = (
        f"{1e3 * step:.1f} ms a step of {flops / 1e9:,.1f} GFLOP, {flops / step / 1e12:.3g} TFLOP/s"
    )
    if of_device:
        told += f", {flops / step / of_device:.1%} of the bfloat16 peak"
    return told


def noise(batch: int, sources: int, samples: int) -> Float[np.ndarray, "batch source sample"]:
    """As much work as any recordings."""
    return np.random.default_rng(0).normal(0, 0.05, (batch, sources, samples)).astype(np.float32)


def parameters(task: Task, samples: int) -> Any:
    """The parameters of a new model and noise, on the host.

    At the start the last scale of each block is zero, which hides what is before it.
    """
    optimizer = make_optimizer(voices.get_config())
    init = jax.jit(lambda: init_state(task.model, optimizer, task.size(samples), 0).params)
    random = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + random.normal(0, 0.02, x.shape).astype(x.dtype), init())


def named(params: Any) -> dict[str, np.ndarray]:
    """Parameters, or gradients, by names such as ``encoder/root/kernel``."""
    leaves = jax.tree_util.tree_leaves_with_path(params["params"])
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in leaves}


class Compiled:
    """A step of ours, or of a variant of it.

    Attributes:
      compilation: seconds that it took.
      first: loss and gradient norm of the first step.
    """

    def __init__(
        self, config: ConfigDict, variant: Variant, params: Any, sources: np.ndarray
    ) -> None:
        config = config.copy_and_resolve_references()
        config.update_from_flattened_dict(variant.config)
        task, optimizer = make_task(config), variant.optimizer(make_optimizer(config))
        self.steps = variant.steps

        def step(state: TrainState, sources: jax.Array) -> tuple[TrainState, Any]:
            with variants.replacing(variant.replaced):
                return train_step(task, optimizer, state, sources)

        def dispatch(state: TrainState, batches: jax.Array) -> tuple[TrainState, Any]:
            return jax.lax.scan(step, state, batches)

        self.batch = jnp.asarray(sources)
        if self.steps > 1:
            self.batch = jnp.stack([self.batch] * self.steps)
        packed = jax.tree.map(jnp.array, variant.pack(params))
        self.state = TrainState(jnp.zeros((), jnp.int32), packed, optimizer.init(packed))
        function = jax.jit(
            step if self.steps == 1 else dispatch, donate_argnums=0 if variant.donates else ()
        )
        started = time.perf_counter()
        self.run = function.lower(self.state, self.batch).compile()
        self.compilation = time.perf_counter() - started
        self.state, values = self.run(self.state, self.batch)
        self.first = [float(jnp.ravel(values[name])[0]) for name in ("loss", "gradient_norm")]

    def turn(self, steps: int) -> float:
        """Seconds a step, of at least so many."""
        dispatches = -(-steps // self.steps)
        started = time.perf_counter()
        for _ in range(dispatches):
            self.state, values = self.run(self.state, self.batch)
        jax.block_until_ready((self.state, values))
        return (time.perf_counter() - started) / (dispatches * self.steps)


class TwinProcess:
    """The PyTorch twin; attributes and turns as of `Compiled`."""

    def __init__(self, config: ConfigDict, params: Any, sources: np.ndarray, folder: Path) -> None:
        (folder / "config.json").write_text(config.to_json_best_effort())
        np.savez(folder / "parameters.npz", **named(params))
        np.save(folder / "sources.npy", sources)
        device = "cpu" if jax.default_backend() == "cpu" else "cuda"
        self.process = subprocess.Popen(
            [sys.executable, str(TWIN), str(folder), device], text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"},
        )  # fmt: skip
        *self.first, self.compilation = self._answer()

    def turn(self, steps: int) -> float:
        """Seconds a step, of so many."""
        print(steps, file=self.process.stdin)
        return self._answer()[0]

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate("0\n")

    def _answer(self) -> list[float]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the PyTorch twin stopped; its own message is above")
        return [float(number) for number in line.split()]


@contextlib.contextmanager
def contender(
    config: ConfigDict, variant: Variant, params: Any, sources: np.ndarray
) -> Iterator[Compiled | TwinProcess]:
    """A variant or the twin, ready for its turns; its memory is free again afterwards."""
    if variant is not variants.TWIN:
        yield Compiled(config, variant, params, sources)
        return
    with tempfile.TemporaryDirectory() as folder:
        twin = TwinProcess(config, params, sources, Path(folder))
        yield twin
        twin.close()


def matching_alone(config: ConfigDict, step: float) -> str:
    """What each solver takes by itself for a batch, next to a whole step."""
    n = config.model.slots
    costs = jax.random.uniform(jax.random.key(0), (config.train.batch_size, n, n))
    assign = jax.jit(matching.assign, static_argnums=1)
    found = []
    for solver in matching.SOLVERS:
        seconds = []
        for _ in range(50):
            started = time.perf_counter()
            assign(costs, solver).block_until_ready()
            seconds.append(time.perf_counter() - started)
        median = statistics.median(seconds)
        found.append(f"{solver} {1e6 * median:.0f} µs ({median / step:.3%} of the step)")
    return ", ".join(found)


if __name__ == "__main__":
    main()
