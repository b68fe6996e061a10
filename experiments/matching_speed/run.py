"""The solvers of `audioslots_jax.matching`: ``python experiments/matching_speed/run.py``."""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax

from audioslots_jax import matching

BATCH = 64
WARM_UP = 5


def main() -> None:
    """Prints microseconds per batch of assignments; the solvers take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200, help="runs of each solver and size")
    flags = parser.parse_args()
    device = jax.devices()[0]
    print(f"{device.device_kind}, jax {jax.__version__}: median µs for {BATCH} assignments")
    print("| n | " + " | ".join(matching.SOLVERS) + " |")
    print("| --- |" + " --- |" * len(matching.SOLVERS))
    assign = jax.jit(matching.assign, static_argnums=1)
    for n in range(2, 9):
        costs = jax.random.uniform(jax.random.key(n), (BATCH, n, n))
        micros: dict[str, list[float]] = {solver: [] for solver in matching.SOLVERS}
        for repeat in range(WARM_UP + flags.repeats):
            for solver, values in micros.items():
                started = time.perf_counter()
                assign(costs, solver).block_until_ready()
                if repeat >= WARM_UP:
                    values.append(1e6 * (time.perf_counter() - started))
        row = " | ".join(f"{statistics.median(values):.0f}" for values in micros.values())
        print(f"| {n} | {row} |")


if __name__ == "__main__":
    main()
