"""Factorised decoder against naive broadcast: ``python experiments/decoder_speed/run.py``."""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

from audioslots_jax.models import SpatialBroadcastDecoder
from experiments.decoder_speed.naive import decode

SIZE = (256, 64)


def main() -> None:
    """Prints and writes time and memory of forward and backward passes at the paper's sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1, help="mixtures of two slots each")
    parser.add_argument("--slot-size", type=int, default=4096, help="d")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, taken in turns")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    flags = parser.parse_args()

    decoder = SpatialBroadcastDecoder(crop_frames=SIZE[1])
    slots = jax.random.normal(jax.random.key(0), (flags.batch, 2, flags.slot_size))
    params = decoder.init(jax.random.key(1), slots, SIZE)
    forms: dict[str, Callable[..., Any]] = {
        "naive": functools.partial(decode, decoder),
        "factorised": lambda *inputs: decoder.apply(*inputs).values,
    }
    passes = {name: compile_passes(form, params, slots) for name, form in forms.items()}

    results = {name: run(params, slots) for name, run in passes.items()}
    for ours, theirs in zip(*map(jax.tree.leaves, results.values()), strict=True):
        scale = float(jnp.max(jnp.abs(theirs)))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * scale)

    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(flags.repeats):
        for name, run in passes.items():
            started = time.perf_counter()
            jax.block_until_ready(run(params, slots))
            seconds[name].append(time.perf_counter() - started)

    device = jax.devices()[0].device_kind
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    sizes = {name: allocated(run) for name, run in passes.items()}
    time_ratio, memory_ratio = (x["naive"] / x["factorised"] for x in (medians, sizes))
    lines = [
        f"{device}, jax {jax.__version__}, batch {flags.batch}, 2 slots, d = {flags.slot_size}, "
        f"{SIZE[0]} x {SIZE[1]}, forward and backward",
        f"{'':12}{'median s':>10}{'MiB':>10}",
        *(f"{name:12}{medians[name]:10.4f}{sizes[name] / 2**20:10.0f}" for name in passes),
        f"naive / factorised: {time_ratio:.1f} x the time, {memory_ratio:.1f} x the memory",
    ]
    print("\n".join(lines))
    flags.output.mkdir(exist_ok=True)
    (flags.output / f"{device.replace(' ', '_')}.txt").write_text("\n".join(lines) + "\n")


def compile_passes(form: Callable[..., Any], params: Any, slots: jax.Array) -> jax.stages.Compiled:
    """Returns the compiled gradient of a loss on all spectrograms."""

    def loss(params: Any, slots: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(form(params, slots, SIZE) - 1))

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(params, slots).compile()


def allocated(compiled: jax.stages.Compiled) -> int:
    """Returns the bytes that XLA allocates for arguments, results and everything between."""
    memory = compiled.memory_analysis()
    return memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes


if __name__ == "__main__":
    main()
