"""The solvers of `audioslots_jax.matching`: ``python experiments/matching_speed/run.py``."""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax

from audioslots_jax import matching

BATCH = 64
REPEATS = 200


def main() -> None:
    """Prints microseconds per batch of assignments; the solvers take turns."""
    device = jax.devices()[0]
    print(f"{device.device_kind}, jax {jax.__version__}: median µs for {BATCH} assignments")
    print("| n | " + " | ".join(matching.SOLVERS) + " |")
    print("| --- |" + " --- |" * len(matching.SOLVERS))
    assign = jax.jit(matching.assign, static_argnums=1)
    for n in range(2, 9):
        costs = jax.random.uniform(jax.random.key(n), (BATCH, n, n))
        micros: dict[str, list[float]] = {solver: [] for solver in matching.SOLVERS}
        for repeat in range(REPEATS + 5):
            for solver, values in micros.items():
                started = time.perf_counter()
                assign(costs, solver).block_until_ready()
                if repeat >= 5:
                    values.append(1e6 * (time.perf_counter() - started))
        row = " | ".join(f"{statistics.median(values):.0f}" for values in micros.values())
        print(f"| {n} | {row} |")


if __name__ == "__main__":
    main()
