"""Makes the model that comes with the package, from recordings to weights; see README.md.

python experiments/compact/run.py --speakers=DIR --more=DIR --librimix=DIR --workdir=WORK
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.data.prepare import prepare
from audioslots_jax.inference import RecordingSeparator, packaged
from experiments.compact.export import export
from experiments.compact.score import card, dev_mixtures, official_mixtures

ROOT = Path(__file__).parents[2]
RATE = 8000
# Each learning rate goes down to 0. Every training starts from what the one before it learned; the
# later ones have longer crops and, by their speed, more voices.
FIRST = """
    --config.data.crop_seconds=3.0 --config.train.steps=8000 --config.train.warmup_steps=100
    --config.train.learning_rate=2.5e-3 --config.train.eval_every=1000
    --config.train.log_every=100
""".split()
LATER = """
    --config.data.crop_seconds=4.0 --config.train.batch_size=12 --config.data.speed=0.1
    --config.train.warmup_steps=100 --config.train.eval_every=1000 --config.train.log_every=100
""".split()
SECOND = [*LATER, "--config.train.steps=6000", "--config.train.learning_rate=2e-3"]
THIRD = [*LATER, "--config.train.steps=8000", "--config.train.learning_rate=1.5e-3"]
LICENSE = (
    "The weights may be used under the license of audioslots_jax. They were trained on LibriSpeech "
    "(Panayotov et al. 2015, CC BY 4.0) and speechocean762 (Zhang et al. 2021)."
)
DATA = (
    "LibriSpeech train-clean, 241 speakers, 4.45 h; speechocean762, 250 speakers, 5.68 h; mixed "
    "anew in every step, at levels that differ by up to 8 dB; in the later trainings up to a tenth "
    "faster or slower"
)


def main() -> None:
    """Packs, trains (or goes on training), scores and exports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--speakers", type=Path, required=True, help="with train/ and dev/, a folder per speaker")
    add("--more", type=Path, required=True, help="a folder per speaker, for training alone")
    add("--librimix", type=Path, required=True, help="official test mixtures, for the last score")
    add("--workdir", type=Path, required=True, help="for stores and the run")
    add("--output", type=Path, default=packaged.COMPACT, help="for the weights and their card")
    options, flags = parser.parse_known_args()
    logging.set_verbosity(logging.ERROR)
    stores = {name: options.workdir / name for name in ("speakers", "more")}
    for name, store in stores.items():
        print(prepare(getattr(options, name), store, RATE))
    train = [sys.executable, str(ROOT / "main.py"), f"--config={ROOT / 'configs' / 'compact.py'}"]
    train.append(f"--config.data.root={stores['speakers']},{stores['more']}")
    runs: list[Path] = []
    for name, recipe in (("first", FIRST), ("second", SECOND), ("third", THIRD)):
        start = [f"--config.train.start_from={run}" for run in runs[-1:]]
        runs.append(options.workdir / name)
        subprocess.run([*train, f"--workdir={runs[-1]}", *start, *recipe, *flags], check=True)
    ship(runs, stores["speakers"] / "dev", options.librimix, options.output)


def ship(runs: Sequence[Path], dev: Path, librimix: Path, output: Path) -> None:
    """Scores the last of runs that start from each other, and exports its model.

    The official mixtures are scored here alone.
    """
    run = runs[-1]
    separator = audioslots_jax.load(run)
    export(separator, run, {**about(runs, separator), "data": DATA}, output)
    # What is scored is what travels.
    model = audioslots_jax.load(output)
    scores = {
        "dev_3_seconds": card(model, dev_mixtures(dev, RATE, 192)),
        "libri2mix_test_min": card(model, official_mixtures(librimix, RATE, 60)),
    }
    path = output / packaged.CARD
    path.write_text(json.dumps(json.loads(path.read_text()) | scores, indent=2) + "\n")
    print(path.read_text())


def about(runs: Sequence[Path], separator: RecordingSeparator) -> dict[str, object]:
    """Returns what is to be known of the last of runs that start from each other."""
    return {
        "license": LICENSE,
        "steps_of_each_training": [int(lines(run)[-1]["step"]) for run in runs],
        "hours_of_training": round(sum(map(seconds, runs)) / 3600, 2),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, jax on "
        f"{jax.devices()[0].device_kind}",
        "parameters_of_the_training": sum(x.size for x in jax.tree.leaves(separator.params)),
        "speakers_who_chose_the_checkpoint": "half of those in dev",
    }


def lines(run: Path) -> list[dict[str, float]]:
    """Returns the lines of a run's speed, by step."""
    return [*map(json.loads, (run / "speed.jsonl").read_text().splitlines())]


def seconds(run: Path) -> float:
    """Returns how long a run has trained."""
    last, total = 0.0, 0.0
    for line in lines(run):
        total += max(line["step"] - last, 0) / line["speed/steps_per_second"]
        last = max(last, line["step"])
    return total


if __name__ == "__main__":
    main()
