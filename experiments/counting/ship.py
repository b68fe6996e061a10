"""Makes the package's model that counts, from runs that start from each other; see README.md.

python experiments/counting/ship.py RUN [RUN ...] --dev=DIR --librimix=DIR --libri3mix=DIR
"""

import argparse
import sys
from pathlib import Path

from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.inference import packaged
from experiments.compact.export import export
from experiments.compact.run import about
from experiments.counting.calibrate import calibrate, score

DATA = (
    "that of the model compact, whose last training it goes on from: LibriSpeech train-clean, 241 "
    "speakers, 4.45 h; speechocean762, 250 speakers, 5.68 h; 0 to 3 people mixed anew in every "
    "step, with pauses, and white, pink and humming noise 10 to 40 dB below them; in the later "
    "trainings up to 15 % faster or slower; in the last one fewer at a time"
)


def main() -> None:
    """Exports the last run's model, calibrates it, and scores what travels."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("runs", metavar="RUN", type=Path, nargs="+", help="each started from the one before")
    add("--dev", type=Path, required=True, help="a folder per speaker")
    add("--librimix", type=Path, required=True, help="folder or store of Libri2Mix")
    add("--libri3mix", type=Path, required=True, help="folder or store of Libri3Mix")
    add("--mixtures", type=int, default=64, help="of each number of dev speakers")
    add("--output", type=Path, default=packaged.COUNT, help="for weights and card")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    run = audioslots_jax.load(options.runs[-1])
    export(run, options.runs[-1], {**about(options.runs, run), "data": DATA}, options.output)
    calibrate(options.output, options.dev, options.mixtures)
    score(options.output, options.dev, options.librimix, options.libri3mix, options.mixtures)
    print((options.output / packaged.CARD).read_text())


if __name__ == "__main__":
    main()
