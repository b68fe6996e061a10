"""How many people a model hears in minutes of real speech: ``long.py --dev=DIR``."""

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.data.level import rms
from audioslots_jax.inference import packaged
from audioslots_jax.inference.presence import PRESENT
from experiments.conversations.run import long_voices, spoken

SECONDS, MOST = 70, 3  # of a voice that is not repeated, and people in a recording
REPEATED = 9  # times, in the longer recordings


def main() -> None:
    """Prints a table, and writes it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", help="a run that counts; the package's model by default")
    parser.add_argument("--dev", type=Path, required=True, help="a folder per speaker")
    parser.add_argument("--recordings", type=int, default=14, help="of each kind, if there are")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    model = audioslots_jax.load(options.workdir or packaged.COUNT)
    rate, slots = model.sample_rate, model.separator.slots
    voices = list(long_voices(options.dev, rate, SECONDS).values())
    numbers = " | ".join(map(str, range(1, slots + 1)))
    lines = [f"| people | each | seconds | found: 0 | {numbers} |", "| --- " * (slots + 4) + "|"]
    kinds = itertools.product(range(1, MOST + 1), (False, True), (1, REPEATED))
    for people, turns, times in kinds:
        made = recordings(voices, people, turns, times, rate)
        chosen = itertools.islice(made, options.recordings if times == 1 else 4)
        said = [model.with_presence(recording[None], rate)[1] for recording in chosen]
        found = np.bincount([np.sum(p >= PRESENT) for p in said], minlength=slots + 1)
        what = "takes turns" if turns else "speaks all the time"
        cells = [people, what, times * SECONDS, *found]
        lines.append(f"| {' | '.join(map(str, cells))} |")
        print(lines[-1], flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "long.md").write_text("\n".join(lines) + "\n")


def recordings(
    voices: list[np.ndarray], people: int, turns: bool, times: int, rate: int
) -> Iterator[np.ndarray]:
    """Yields recordings of so many voices, up to 2.5 dB louder or softer than each other's mean.

    A voice that is repeated begins at another place every time, so that no part of the recording
    is like another one.
    """
    rng = np.random.default_rng(people)
    combinations = list(itertools.combinations(range(len(voices)), people))
    for combination in rng.permutation(combinations):
        recording = np.zeros(times * len(voices[0]), np.float32)
        for number in combination:
            rolled = [np.roll(voices[number], rng.integers(len(voices[0]))) for _ in range(times)]
            voice = np.concatenate(rolled)
            voice *= 0.05 * 10 ** (rng.uniform(-2.5, 2.5) / 20) / rms(voice)
            recording += voice * spoken(rng, len(voice), rate) if turns else voice
        yield recording


if __name__ == "__main__":
    main()
