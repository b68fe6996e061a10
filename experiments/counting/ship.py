"""Makes the package's model that counts, from runs that start from each other; see README.md.

python experiments/counting/ship.py RUN [RUN ...] --dev=DIR --librimix=DIR --libri3mix=DIR
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.inference import RecordingSeparator, packaged
from experiments.compact.export import export
from experiments.compact.run import about
from experiments.counting.calibrate import calibrate, score

DATA = (
    "that of the model compact, whose last training it goes on from: LibriSpeech train-clean, 241 "
    "speakers, 4.45 h; speechocean762, 250 speakers, 5.68 h; 0 to 3 people mixed anew in every "
    "step, with pauses, and white, pink and humming noise 10 to 40 dB below them; in the later "
    "trainings up to 15 % faster or slower, and fewer at a time; in the last one with chords, and "
    "with noise alone that is as loud as people"
)


def main() -> None:
    """Exports the last run's model, calibrates it, and scores what travels."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    which = "each started from the one before; the first may be a model that was shipped"
    add("runs", metavar="RUN", nargs="+", help=which)
    add("--dev", type=Path, required=True, help="a folder per speaker")
    add("--librimix", type=Path, required=True, help="folder or store of Libri2Mix")
    add("--libri3mix", type=Path, required=True, help="folder or store of Libri3Mix")
    add("--mixtures", type=int, default=64, help="of each number of dev speakers")
    add("--output", type=Path, default=packaged.COUNT, help="for weights and card")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    runs = [packaged.folder_of(text) for text in options.runs]
    run = audioslots_jax.load(runs[-1])
    export(run, runs[-1], {**history(runs, run), "data": DATA}, options.output)
    calibrate(options.output, options.dev, options.mixtures)
    score(options.output, options.dev, options.librimix, options.libri3mix, options.mixtures)
    print((options.output / packaged.CARD).read_text())


def history(runs: Sequence[Path], run: RecordingSeparator) -> dict[str, object]:
    """Returns what is to be known of the last of the runs, with what the first one's card says."""
    card = runs[0] / packaged.CARD
    if not card.exists():
        return about(runs, run)
    before, known = json.loads(card.read_text()), about(runs[1:], run)
    for name in ("steps_of_each_training", "hours_of_training"):
        known[name] = before[name] + known[name]
    return known


if __name__ == "__main__":
    main()
