"""Makes a model that counts say what is likely: ``calibrate.py --dev=DIR --librimix=DIR ...``.

Two numbers, a scale and a shift of its logits of presence (Platt 1999, "Probabilistic outputs for
support vector machines"), are fitted to people whom nothing was trained on, half of whom chose the
checkpoint.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from scipy import optimize, special

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.data.batch import Whole
from audioslots_jax.data.level import rms
from audioslots_jax.data.recordings import read_crop, scan
from audioslots_jax.inference import packaged
from audioslots_jax.workdir import read_config
from experiments.counting.odd import hear
from experiments.counting.speech import dev_mixtures, holding, official_mixtures, scored

LEVELS = 3.0  # dB, by which the second of two whole recordings may be louder or softer


class Said(NamedTuple):
    """What a model says of a mixture of so many sources, and which slots do hold one."""

    sources: int
    said: np.ndarray
    holds: np.ndarray


def main() -> None:
    """Calibrates the model in a folder, and scores it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", type=Path, default=packaged.COUNT, help="a folder of `export`")
    add("--dev", type=Path, required=True, help="a folder per speaker")
    add("--librimix", type=Path, required=True, help="folder or store of Libri2Mix")
    add("--libri3mix", type=Path, required=True, help="folder or store of Libri3Mix")
    add("--mixtures", type=int, default=64, help="of each number of dev speakers")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    if "calibration" in json.loads((options.model / packaged.CARD).read_text()):
        parser.error(f"--model: {options.model} is calibrated already; name another folder.")
    calibrate(options.model, options.dev, options.mixtures)
    score(options.model, options.dev, options.librimix, options.libri3mix, options.mixtures)
    print((options.model / packaged.CARD).read_text())


def calibrate(folder: Path, dev: Path, count: int) -> None:
    """Fits scale and shift to dev speakers, and puts them into a model's last layer, for good."""
    model = audioslots_jax.load(folder)
    rate = model.sample_rate
    said = []
    for whole in itertools.chain(dev_mixtures(dev, rate, count), whole_recordings(dev, rate)):
        heard = hear(model, whole)
        said.append(Said(len(whole.sources), heard.said, holding(heard)))
    scale, shift = fit(said)
    card = json.loads((folder / packaged.CARD).read_text())
    card["calibration"] = {
        "scale": round(scale, 4),
        "shift": round(shift, 4),
        "mixtures": len(said),
        "of": "dev speakers: 6 s of one, two, three, and whole recordings of one and two",
    }
    params = calibrated(model.params, scale, shift)
    packaged.export(params, read_config(folder), folder, folder, card)


def score(folder: Path, dev: Path, librimix: Path, libri3mix: Path, count: int) -> None:
    """Writes how many people a model hears into its card."""
    model = audioslots_jax.load(folder)
    rate = model.sample_rate
    sets = {
        "dev_6_seconds": dev_mixtures(dev, rate, count),
        "official_test_min": official_mixtures(librimix, libri3mix, rate),
    }
    scores = {name: scored([hear(model, whole) for whole in each]) for name, each in sets.items()}
    path = folder / packaged.CARD
    path.write_text(json.dumps(json.loads(path.read_text()) | scores, indent=2) + "\n")


def whole_recordings(folder: Path, sample_rate: int) -> Iterator[Whole]:
    """Yields every recording alone, and with one of somebody else, cut to the shorter one."""
    recordings, _ = scan(folder, field="--dev", sample_rate=sample_rate)
    rng = np.random.default_rng(0)
    names = sorted(recordings)
    for name in names:
        others = [other for other in names if other != name]
        for recording in recordings[name]:
            own = read_crop([recording], 0.0, recording.samples(sample_rate), sample_rate)
            yield Whole(f"{name} {recording.path.stem}", own, own[None])
            theirs = recordings[others[rng.integers(len(others))]]
            other = theirs[rng.integers(len(theirs))]
            samples = min(len(own), other.samples(sample_rate))
            pair = np.stack([own[:samples], read_crop([other], 0.0, samples, sample_rate)])
            gains = 10 ** (np.array([0.0, rng.uniform(-LEVELS, LEVELS)]) / 20)
            sources = np.stack([g * x / rms(x) for g, x in zip(gains, pair, strict=True)])
            sources = (0.05 * sources).astype(np.float32)
            both = f"{name} {recording.path.stem}, {other.path.stem}"
            yield Whole(both, sources.sum(axis=0), sources)


def fit(mixtures: Sequence[Said]) -> tuple[float, float]:
    """Returns scale and shift of logits, under which the probabilities fit what is there best.

    Every number of people counts the same.
    """
    said, holds = (
        np.array([getattr(each, name) for each in mixtures]) for name in Said._fields[1:]
    )
    numbers = np.array([each.sources for each in mixtures])
    most = np.finfo(np.float32).eps
    logits = special.logit(said.astype(np.float64).clip(most, 1 - most))
    weights = 1 / np.bincount(numbers)[numbers]

    def cross_entropy(fitted: np.ndarray) -> float:
        scaled = fitted[0] * logits + fitted[1]
        return np.average(
            np.mean(np.logaddexp(0, scaled) - holds * scaled, axis=1), weights=weights
        )

    scale, shift = optimize.minimize(cross_entropy, (1.0, 0.0)).x
    return float(scale), float(shift)


def calibrated(params: Any, scale: float, shift: float) -> Any:
    """Returns parameters whose logits of presence are scaled and shifted."""
    presence = params["params"]["presence"]
    layer = presence["logit"]
    logit = {"kernel": scale * layer["kernel"], "bias": scale * layer["bias"] + shift}
    logit = jax.tree.map(jnp.asarray, logit)
    return {**params, "params": {**params["params"], "presence": {**presence, "logit": logit}}}


if __name__ == "__main__":
    main()
