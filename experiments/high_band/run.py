"""What to do with what lies above a model's band; see README.md.

python experiments/high_band/run.py --data=DIR [--workdir=RUN]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import soxr
from absl import logging
from jaxtyping import Float32

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.evaluation.scores import score
from audioslots_jax.inference.high_band import share_rest
from experiments.compact.score import dev_mixtures

RATE = 16_000
RULES = ("left out", "the same for every slot", "by loudness just below (`separate`)")


def by_every_rule(
    mixture: Float32[np.ndarray, " sample"],
    estimates: Float32[np.ndarray, "slot sample"],
    band: float,
) -> list[Float32[np.ndarray, "slot sample"]]:
    """Returns the estimates with what `RULES` give them."""
    rest = mixture - estimates.sum(axis=0)
    blocks = share_rest(iter([(mixture[None], estimates[:, None])]), RATE, band)
    shared = np.concatenate(list(blocks), axis=-1)[:, 0]
    return [estimates, estimates + rest / len(estimates), shared]


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder per speaker, at 16 kHz")
    parser.add_argument("--workdir", type=Path, help="a run; the package's model without")
    parser.add_argument("--mixtures", type=int, default=192)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    separator = audioslots_jax.load(options.workdir)
    rate = separator.sample_rate
    scores = []
    for whole in dev_mixtures(options.data, RATE, options.mixtures):
        slots = separator(soxr.resample(whole.mixture, RATE, rate), rate)
        heard = soxr.resample(slots.T, rate, RATE).T[:, : len(whole.mixture)]
        estimates = np.pad(heard, ((0, 0), (0, len(whole.mixture) - heard.shape[1])))
        made = by_every_rule(whole.mixture, estimates, rate / 2)
        scores.append([np.mean(score(whole, each, RATE).si_snri) for each in made])
    means = np.mean(scores, axis=0)
    errors = np.std(scores, axis=0, ddof=1) / len(scores) ** 0.5
    lines = [f"| above {rate // 2} Hz | SI-SNRi at {RATE // 1000} kHz, {len(scores)} mixtures |"]
    lines.append("| --- | --- |")
    for rule, mean, error in zip(RULES, means, errors, strict=True):
        lines.append(f"| {rule} | {mean:.2f} ± {error:.2f} dB |")
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "rules.md").write_text("\n".join(lines) + "\n")
    print((options.output / "rules.md").read_text())


if __name__ == "__main__":
    main()
