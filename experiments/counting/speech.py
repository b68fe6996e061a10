"""How many people a model hears in real speech: ``speech.py --workdir=RUN --dev=DIR``."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soxr
from absl import logging
from jaxtyping import Bool
from scipy.optimize import linear_sum_assignment

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.data.batch import Whole
from audioslots_jax.data.libri2mix import Libri2Mix, Libri3Mix
from audioslots_jax.data.recordings import scan
from audioslots_jax.data.speakers import Speakers
from audioslots_jax.data.wholes import held_out_wholes
from audioslots_jax.evaluation import counts
from audioslots_jax.inference.presence import PRESENT
from experiments.counting.odd import Heard, alone, hear

SECONDS, MOST = 6, 3  # of a mixture of dev speakers, and people in it


def main() -> None:
    """Prints the scores as JSON, and writes them to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="a run that counts")
    parser.add_argument("--dev", type=Path, required=True, help="a folder per speaker")
    parser.add_argument("--librimix", type=Path, help="folder or store of Libri2Mix")
    parser.add_argument("--libri3mix", type=Path, help="folder or store of Libri3Mix")
    parser.add_argument("--mixtures", type=int, default=64, help="of each number of dev speakers")
    results = Path(__file__).with_name("results")
    parser.add_argument("--output", type=Path, default=results, help="folder for the scores")
    parser.add_argument("--name", default="speech", help="of the file")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    trained = audioslots_jax.load(options.workdir)
    if not trained.counts or trained.separator.slots < MOST:
        parser.error(f"--workdir: {options.workdir} does not count up to {MOST}; name another run.")
    if bool(options.librimix) != bool(options.libri3mix):
        parser.error("--librimix and --libri3mix go together.")
    rate = trained.sample_rate
    dev = list(dev_mixtures(options.dev, rate, options.mixtures))
    result = {"dev": scored([hear(trained, whole) for whole in dev])}
    if options.librimix:
        official = list(official_mixtures(options.librimix, options.libri3mix, rate))
        result["official"] = scored([hear(trained, whole) for whole in official])
    text = json.dumps(result, indent=2)
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / f"{options.name}.json").write_text(f"{text}\n")


def dev_mixtures(
    folder: Path, sample_rate: int, count: int, seconds: float = SECONDS
) -> Iterator[Whole]:
    """Yields so many mixtures of each number of people whom no weights were trained on."""
    recordings, _ = scan(folder, field="--dev", sample_rate=sample_rate)
    for sources in range(1, MOST + 1):
        crops = Speakers(
            recordings, sample_rate, round(seconds * sample_rate), sources, active=True
        )
        yield from held_out_wholes(crops, f"dev{sources}", count)


def official_mixtures(two: Path, three: Path, sample_rate: int) -> Iterator[Whole]:
    """Yields test mixtures of Libri2Mix and Libri3Mix in mode min, and first sources alone."""
    pairs = Libri2Mix(two, "test", "min", allow_missing=True)
    triples = Libri3Mix(three, "test", "min", allow_missing=True)
    for mixture in [*pairs, *triples]:
        resampled = soxr.resample(mixture.sources.T, mixture.sample_rate, sample_rate)
        sources = np.ascontiguousarray(resampled.T, np.float32)
        if len(sources) < MOST:
            yield Whole(f"{mixture.mixture_id}_1", sources[0], sources[:1])
        yield Whole(mixture.mixture_id, sources.sum(axis=0), sources)


def scored(mixtures: Sequence[Heard]) -> dict:
    """Returns the scores by number of people, and what becomes of one alone."""
    rows = [counted(heard) for heard in mixtures]
    result = counts.summary(rows, len(mixtures[0].slots))
    one_or_two = [row for row in rows if row.sources in (1, 2)]
    right = np.mean([row.found == row.sources for row in one_or_two])
    single = [heard for heard in mixtures if len(heard.whole.sources) == 1]
    pairs = [heard for heard in mixtures if len(heard.whole.sources) == 2]
    return {
        **result,
        **given_number(pairs),
        "count_accuracy_of_1_and_2": float(right),
        "brier": float(np.mean([(heard.said - holding(heard)) ** 2 for heard in mixtures])),
        "alone": alone(single),
    }


def holding(heard: Heard) -> Bool[np.ndarray, " slot"]:
    """Returns the slots that hold a source: those that fit the true ones best, by SI-SNR."""
    products = heard.whole.sources @ heard.slots.T
    energies = [np.sum(np.square(x), axis=1) for x in (heard.whole.sources, heard.slots)]
    # Of the share of a slot's energy that is the source's.
    shares = np.square(products) / np.maximum(np.outer(*energies), 1e-12)
    si_snr = 10 * np.log10(np.maximum(shares, 1e-9) / np.maximum(1 - shares, 1e-9))
    _, slots = linear_sum_assignment(si_snr, maximize=True)
    return np.isin(np.arange(len(heard.slots)), slots)


def given_number(pairs: Sequence[Heard]) -> dict[str, float]:
    """Returns the scores of two people by the two most probable slots, whatever is counted."""
    values = [
        counts.count(whole, slots, most_probable(said, 2)).si_snri for whole, slots, said in pairs
    ]
    error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
    return {"si_snri_of_2_given_number": float(np.mean(values)), "stderr_of_2_given_number": error}


def most_probable(said: np.ndarray, number: int) -> Bool[np.ndarray, " slot"]:
    """Returns so many slots, those with the highest probabilities."""
    return np.isin(np.arange(len(said)), np.argsort(-said)[:number])


def counted(heard: Heard) -> counts.Counted:
    """Returns the scores of the slots that are said to hold somebody."""
    return counts.count(heard.whole, heard.slots, heard.said >= PRESENT)


if __name__ == "__main__":
    main()
