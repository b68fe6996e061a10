"""The solvers of `audioslots_jax.matching`: ``python experiments/matching_speed/run.py``."""

import argparse
import functools
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax

from audioslots_jax import matching

BATCH = 64
WARM_UP = 5
SIZES = (*((n, n) for n in range(2, 9)), (2, 4), (4, 2))  # sources, slots


def main() -> None:
    """Prints microseconds per batch of assignments, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200, help="runs of each solver and size")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    flags = parser.parse_args()
    device = jax.devices()[0].device_kind
    lines = [
        f"{device}, jax {jax.__version__}: median µs for {BATCH} assignments\n",
        "| sources x slots | " + " | ".join(matching.SOLVERS) + " |",
        "| --- |" + " --- |" * len(matching.SOLVERS),
    ]
    for sources, slots in SIZES:
        micros = measure(sources, slots, flags.repeats)
        row = " | ".join(f"{statistics.median(values):.0f}" for values in micros.values())
        lines.append(f"| {sources} x {slots} | {row} |")
    print("\n".join(lines))
    flags.output.mkdir(exist_ok=True)
    (flags.output / f"{device.replace(' ', '_')}.md").write_text("\n".join(lines) + "\n")


def measure(sources: int, slots: int, repeats: int) -> dict[str, list[float]]:
    """Returns microseconds of every run, by solver; the solvers take turns."""
    costs = jax.random.uniform(jax.random.key(0), (BATCH, sources, slots))
    solvers = {
        name: jax.jit(functools.partial(matching.assign, solver=name)) for name in matching.SOLVERS
    }
    micros: dict[str, list[float]] = {name: [] for name in solvers}
    for _ in range(WARM_UP + repeats):
        for name, solve in solvers.items():
            started = time.perf_counter()
            solve(costs).block_until_ready()
            micros[name].append(1e6 * (time.perf_counter() - started))
    return {name: values[WARM_UP:] for name, values in micros.items()}


if __name__ == "__main__":
    main()
