"""What models make of recordings shorter than a crop: ``short.py --dev=DIR``; see README.md.

A model hears such a recording several times over (`inference.repeated`). Beside it stands the same
recording followed by silence up to the length of a crop, which is not repeated.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.evaluation import counts
from audioslots_jax.inference import RecordingSeparator, packaged
from audioslots_jax.inference.presence import PRESENT
from experiments.counting.odd import Heard
from experiments.counting.speech import counted, dev_mixtures, most_probable

SECONDS, RATES, NOISES = (0.5, 1, 2), (8000, 16_000, 44_100), 4


def main() -> None:
    """Prints a table, and writes it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dev", type=Path, required=True, help="a folder per speaker")
    parser.add_argument("--mixtures", type=int, default=64, help="of each number of people")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    counting, two = audioslots_jax.load(packaged.COUNT), audioslots_jax.load(packaged.COMPACT)
    most, rates = counting.separator.slots, ", ".join(f"{rate / 1000:g}" for rate in RATES)
    header = [
        "seconds", "then", *(f"{n} right" for n in range(1, most + 1)),
        "SI-SNRi of 2, if told so", "by the model of two", f"files of noise at {rates} kHz",
    ]  # fmt: skip
    lines = [f"| {' | '.join(header)} |", "| --- " * len(header) + "|"]
    for seconds in SECONDS:
        for then in ("silence", "again"):
            made = list(row(counting, two, seconds, then == "silence", options))
            lines.append(f"| {' | '.join([str(seconds), then, *made])} |")
            print(lines[-1], flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "short.md").write_text("\n".join(lines) + "\n")


def row(
    counting: RecordingSeparator,
    two: RecordingSeparator,
    seconds: float,
    filled: bool,
    options: argparse.Namespace,
) -> Iterator[str]:
    """Yields the cells of recordings of so many seconds, ``filled`` with silence or not."""
    rate = counting.sample_rate

    def hear(model: RecordingSeparator, recording: np.ndarray, at: int) -> tuple:
        missing = max(round(model.crop * at / model.sample_rate) - len(recording), 0)
        heard = np.pad(recording, (0, missing if filled else 0)).astype(np.float32)
        slots, said = model.with_presence(heard[None], at)
        return slots[:, 0, : len(recording)], said

    wholes = list(dev_mixtures(options.dev, rate, options.mixtures, seconds))
    rows = [counted(Heard(whole, *hear(counting, whole.mixture, rate))) for whole in wholes]
    for people in range(1, counting.separator.slots + 1):
        right = [scores.found == people for scores in rows if scores.sources == people]
        yield f"{100 * np.mean(right):.0f} %"
    pairs = [whole for whole in wholes if len(whole.sources) == 2]
    for model in (counting, two):
        made = [(whole, *hear(model, whole.mixture, rate)) for whole in pairs]
        values = [
            counts.count(whole, slots, most_probable(p, 2)).si_snri for whole, slots, p in made
        ]
        yield f"{np.mean(values):.2f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.2f} dB"
    files = []
    for at in RATES:
        noises = (
            np.random.default_rng(i).normal(0, 0.1, round(seconds * at)) for i in range(NOISES)
        )
        numbers = {int(np.sum(hear(counting, noise, at)[1] >= PRESENT)) for noise in noises}
        files.append(" or ".join(map(str, sorted(numbers))))
    yield ", ".join(files)


if __name__ == "__main__":
    main()
