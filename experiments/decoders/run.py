"""What decoders make of the same voices; see README.md.

python experiments/decoders/run.py broadcast=RUN masks=RUN autoencoder=RUN
"""

import argparse
import functools
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.data.batch import HELD_OUT_SEED, Batch
from audioslots_jax.data.voices import TEST, Voices
from audioslots_jax.evaluation.evaluators import si_snr_scores
from audioslots_jax.inference import RecordingSeparator
from audioslots_jax.models import Magnitudes
from audioslots_jax.reports import pictures
from audioslots_jax.separator import Separator


def main() -> None:
    """Writes the picture and the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", help="NAME=RUN, all of configs/voices.py")
    parser.add_argument("--mixtures", type=int, default=256, help="that are scored")
    parser.add_argument("--examples", type=int, default=3, help="that are drawn")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    runs = {name: audioslots_jax.load(run) for name, run in (x.split("=") for x in options.runs)}
    first = next(iter(runs.values()))
    voices = Voices(first.sample_rate, first.crop, voices=TEST)
    rows = range(options.mixtures)
    batch = Batch(*map(jnp.asarray, voices.batch(HELD_OUT_SEED, 0, rows, len(rows))))
    made = {name: reconstruct(run, batch) for name, run in runs.items()}
    front_end = first.separator.front_end
    few = options.examples
    figure = pictures.draw(
        np.asarray(front_end.magnitudes(batch.mixture[:few])),
        np.asarray(front_end.magnitudes(batch.sources[:few])),
        {name: np.asarray(magnitudes[:few]) for name, (_, magnitudes) in made.items()},
        crop_seconds=first.crop / first.sample_rate,
        sample_rate=first.sample_rate,
    )
    lines = [f"| decoder | SI-SNRi, {len(rows)} mixtures of test voices |", "| --- | --- |"]
    for name, (scores, _) in made.items():
        error = np.std(scores, ddof=1) / len(scores) ** 0.5
        lines.append(f"| {name} | {np.mean(scores):.2f} ± {error:.2f} dB |")
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "figure2.png").write_bytes(pictures.png(figure))
    (options.output / "decoders.md").write_text("\n".join(lines) + "\n")
    print((options.output / "decoders.md").read_text())


def reconstruct(run: RecordingSeparator, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Returns SI-SNRi of every mixture, and magnitudes in the order of the sources.

    An autoencoder is shown each true source alone.
    """
    starts = range(0, len(batch.mixture), 32)
    few = (jax.tree.map(lambda x, i=i: x[i : i + 32], batch) for i in starts)
    parts = [_reconstruct(run.separator, run.params, part) for part in few]
    scores, magnitudes = (np.concatenate(each) for each in zip(*parts, strict=True))
    return scores, magnitudes


@functools.partial(jax.jit, static_argnums=0)
def _reconstruct(separator: Separator, params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
    if separator.slots == 1:
        magnitudes = separator(params, batch.alone().mixture).magnitudes
        magnitudes = magnitudes.reshape(*batch.present.shape, *magnitudes.shape[2:])
        waveforms = separator.unmix(batch.mixture, Magnitudes(magnitudes))
    else:
        estimates = separator(params, batch.mixture)
        magnitudes, waveforms = estimates.magnitudes, estimates.waveforms
    improvement, _, order = si_snr_scores(batch, waveforms)
    return improvement, jnp.take_along_axis(magnitudes, order[:, :, None, None], axis=1)


if __name__ == "__main__":
    main()
