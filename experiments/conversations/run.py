"""How are minutes of two people best read? ``python experiments/conversations/run.py --dev=DIR``.

The package's model separates every pair of held-out speakers, at once and in windows.
"""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.audio import order_like, reorder, split
from audioslots_jax.data.batch import Whole
from audioslots_jax.data.level import rms
from audioslots_jax.data.recordings import read_crop, scan
from audioslots_jax.evaluation.scores import score
from audioslots_jax.inference import RecordingSeparator
from experiments.blind_stitching.run import mean_and_error

TURNS = (2.0, 8.0)  # seconds that somebody speaks, or is silent, where people take turns
SEGMENT = 2.0  # seconds in which the truth may choose another order
AT_ONCE = "the whole recording at once (`separate`)"


def main() -> None:
    """Prints a table for people who never pause and one for turns, and writes them to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dev", type=Path, required=True, help="a folder per speaker")
    parser.add_argument("--seconds", type=int, default=70)
    parser.add_argument("--workdir", help="a run; the package's model by default")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    trained = audioslots_jax.load(options.workdir)
    blocks = []
    for turns in (False, True):
        wholes = list(conversations(options.dev, trained.sample_rate, options.seconds, turns))
        columns: dict[str, list[tuple[float, float]]] = {}
        for name, reads in ways(trained, options.seconds).items():
            columns[name] = [measure(reads, whole) for whole in wholes]
        title = "with turns" if turns else "both speak all the time"
        blocks.append(as_table(f"{title}, {len(wholes)} pairs", columns))
    text = "\n\n".join(blocks)
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "windows.md").write_text(f"{text}\n")


def conversations(folder: Path, sample_rate: int, seconds: int, turns: bool) -> Iterator[Whole]:
    """Yields every pair of the speakers who have so many seconds, levels up to 2.5 dB apart."""
    voices, samples = long_voices(folder, sample_rate, seconds), seconds * sample_rate
    rng = np.random.default_rng(0)
    for one, other in itertools.combinations(voices, 2):
        sources = np.stack([voices[one], voices[other]])
        if turns:
            sources *= np.stack([spoken(rng, samples, sample_rate) for _ in sources])
        levels = 0.05 * 10 ** (np.array([0.0, rng.uniform(-2.5, 2.5)]) / 20)
        sources = np.stack([x * (level / rms(x)) for x, level in zip(sources, levels, strict=True)])
        sources = sources.astype(np.float32)
        yield Whole(f"{one}_{other}", sources.sum(axis=0), sources)


def long_voices(folder: Path, sample_rate: int, seconds: int) -> dict[str, np.ndarray]:
    """Returns the voices of those who have so many seconds, their recordings joined, by name."""
    recordings, _ = scan(folder, field="--dev", sample_rate=sample_rate)
    samples = seconds * sample_rate
    return {
        name: read_crop(own, 0.0, samples, sample_rate)
        for name, own in sorted(recordings.items())
        if sum(recording.samples(sample_rate) for recording in own) >= samples
    }


def spoken(rng: np.random.Generator, samples: int, sample_rate: int) -> np.ndarray:
    """Returns 1 where somebody speaks and 0 elsewhere, in turns of a few seconds."""
    said, speaks = np.zeros(samples, np.float32), bool(rng.integers(2))
    start = 0
    while start < samples:
        end = start + round(rng.uniform(*TURNS) * sample_rate)
        said[start:end] = speaks
        start, speaks = end, not speaks
    return said


def ways(trained: RecordingSeparator, seconds: int) -> dict[str, RecordingSeparator]:
    """Returns the same model, reading in several ways."""

    def reading(chunk: float, overlap: float, carries: bool = False) -> RecordingSeparator:
        sections = {"eval": {"chunk_seconds": float(chunk), "overlap": overlap}}
        sections |= {"train": {"sequence": 2 if carries else 1}}
        changed = {name: {**trained.config[name], **fields} for name, fields in sections.items()}
        return dataclasses.replace(trained, config={**trained.config, **changed})

    return {
        AT_ONCE: reading(seconds, 0.2),
        "windows of 30 s that overlap by 6 s": reading(30, 0.2),
        "the same, the slots of one starting the next": reading(30, 0.2, carries=True),
        "windows of 10 s that overlap by 5 s": reading(10, 0.5),
        "windows of 4 s that overlap by 2 s": reading(4, 0.5),
    }


def measure(trained: RecordingSeparator, whole: Whole) -> tuple[float, float]:
    """Returns SI-SNRi, and that in the order which is best for every piece by the truth."""
    estimates = np.asarray(trained(whole.mixture, trained.sample_rate))
    length = round(SEGMENT * trained.sample_rate)

    def segments(waveforms: np.ndarray) -> jax.Array:
        return jnp.swapaxes(split(jnp.asarray(waveforms), length, length), 0, 1)

    parts = segments(estimates)
    best = reorder(parts, order_like(parts, segments(whole.sources)))
    joined = np.swapaxes(np.asarray(best), 0, 1).reshape(len(estimates), -1)
    joined = joined[:, : whole.mixture.size]
    return tuple(float(np.mean(score(whole, x, length).si_snri)) for x in (estimates, joined))


def as_table(title: str, columns: dict[str, list[tuple[float, float]]]) -> str:
    """Returns a Markdown table: means over the pairs, and their standard errors."""
    lines = [
        f"| {title} | SI-SNRi | above the whole at once | by the truth |",
        "| --- | --- | --- | --- |",
    ]
    reference = np.array(columns[AT_ONCE])[:, 0]
    for name, rows in columns.items():
        values, truth = np.array(rows).T
        cells = [mean_and_error(x) for x in (values, values - reference, truth)]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
