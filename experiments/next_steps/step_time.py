"""How long steps of variants take, in turns: ``step_time.py VARIANT VARIANT ...``; see README.md.

The crops are noise, which takes as long as speech.
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from audioslots_jax.data.batch import crop_samples
from experiments.next_steps.run import VARIANTS, make_config
from experiments.step_speed.run import Turn, parameters, start

STEPS = 5  # of a turn


def main() -> None:
    """Prints the seconds of a step of each variant, and its ratio to the first in each round."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("variants", nargs="+", choices=VARIANTS)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    turns = [prepared(name) for name in options.variants]
    rounds = np.array([[turn(STEPS) for turn in turns] for _ in range(options.rounds)])
    for name, seconds in zip(options.variants, rounds.T, strict=True):
        ratios = seconds / rounds[:, 0]
        print(
            f"{name}: {statistics.median(seconds):.3f} s a step, {statistics.median(ratios):.2f} "
            f"({ratios.min():.2f} to {ratios.max():.2f}) of {options.variants[0]}"
        )


def prepared(name: str) -> Turn:
    """Returns what makes steps of a variant, which has made its first."""
    config = make_config(VARIANTS[name], 0, "")
    shape = (config.train.batch_size, config.data.sources, crop_samples(config.data))
    sources = np.random.default_rng(0).normal(0, 0.05, shape).astype(np.float32)
    _, turn = start(config, parameters(config), sources)
    return turn


if __name__ == "__main__":
    main()
