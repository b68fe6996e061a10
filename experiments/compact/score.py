"""Scores a model of two speakers on real speech; see README.md.

python experiments/compact/score.py --dev=STORE/dev --librimix=DIR [--workdir=RUN]
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soxr
from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.data.batch import Whole
from audioslots_jax.data.level import rms
from audioslots_jax.data.libri2mix import Libri2Mix
from audioslots_jax.data.recordings import scan
from audioslots_jax.data.speakers import Speakers
from audioslots_jax.data.wholes import held_out_wholes
from audioslots_jax.evaluation.scores import score
from audioslots_jax.inference import RecordingSeparator

Card = dict[str, float | int]
SECONDS = 3  # of the mixtures of dev speakers
LEVELS = (2.5, 5.0)  # dB; edges of the classes of level differences


def dev_mixtures(folder: Path, sample_rate: int, count: int) -> Iterable[Whole]:
    """Returns mixtures of speakers whom no weights were trained on."""
    recordings, _ = scan(folder, field="--dev", sample_rate=sample_rate)
    crops = Speakers(recordings, sample_rate, SECONDS * sample_rate, active=True)
    return held_out_wholes(crops, "dev", count)


def official_mixtures(root: Path, sample_rate: int, count: int) -> Iterable[Whole]:
    """Yields test mixtures of Libri2Mix, in mode min, resampled."""
    for mixture in Libri2Mix(root, "test", "min", allow_missing=True)[:count]:
        resampled = soxr.resample(mixture.sources.T, mixture.sample_rate, sample_rate)
        sources = np.ascontiguousarray(resampled.T, np.float32)
        yield Whole(mixture.mixture_id, sources.sum(axis=0), sources)


def card(separator: RecordingSeparator, mixtures: Iterable[Whole]) -> Card:
    """Returns means and standard errors over mixtures, each separated as a recording."""
    rows: list[tuple[float, float]] = []
    swaps = 0
    for whole in mixtures:
        estimates = np.asarray(separator(whole.mixture, separator.sample_rate))
        scores = score(whole, estimates, separator.sample_rate)
        swaps += int(scores.swaps)
        levels = [20 * np.log10(rms(source)) for source in whole.sources]
        rows.append((float(np.mean(scores.si_snri)), abs(levels[0] - levels[1])))
    values, differences = np.array(rows).T
    result: Card = {
        "mixtures": len(values),
        "si_snri": round(float(values.mean()), 3),
        "stderr": round(float(values.std(ddof=1) / len(values) ** 0.5), 3),
        "median": round(float(np.median(values)), 3),
        "below_1_db": round(float(np.mean(values < 1)), 3),
        "swapped_seconds_per_mixture": round(swaps / len(values), 3),
    }
    for low, high in zip((0.0, *LEVELS), (*LEVELS, np.inf), strict=True):
        inside = (low <= differences) & (differences < high)
        if inside.any():
            name = f"si_snri_levels_differ_{low:g}_to_{high:g}_db"
            result[name] = round(float(values[inside].mean()), 3)
    return result


def main() -> None:
    """Prints the scores as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", help="a run; the package's model by default")
    parser.add_argument("--dev", type=Path, help="folder or store with a folder per speaker")
    parser.add_argument("--librimix", type=Path, help="folder or store of Libri2Mix")
    parser.add_argument("--mixtures", type=int, default=192)
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    separator = audioslots_jax.load(options.workdir)
    sets = {}
    if options.dev:
        sets["dev"] = dev_mixtures(options.dev, separator.sample_rate, options.mixtures)
    if options.librimix:
        rate = separator.sample_rate
        sets["libri2mix_test_min"] = official_mixtures(options.librimix, rate, options.mixtures)
    print(
        json.dumps({name: card(separator, mixtures) for name, mixtures in sets.items()}, indent=2)
    )


if __name__ == "__main__":
    main()
