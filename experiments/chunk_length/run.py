"""What a model scores on chunks of other lengths than it was trained on; see README.md.

python experiments/chunk_length/run.py --workdir=runs/voices
"""

import argparse
import functools
import sys
from pathlib import Path

import jax
import numpy as np
from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.audio import permuted_si_snr, si_snr_improvement
from audioslots_jax.data.batch import HELD_OUT_SEED, Batch
from audioslots_jax.data.voices import TEST, Voices
from audioslots_jax.separator import Separator

SECONDS = (0.25, 0.5, 0.75, 1.0, 2.0)
BATCH = 16
RESULTS = Path(__file__).parent / "results"


@functools.partial(jax.jit, static_argnums=0)
def scores(separator: Separator, params: object, batch: Batch) -> jax.Array:
    """Returns the mean SI-SNRi in dB of every mixture, separated as one chunk."""
    waveforms = separator(params, batch.mixture).waveforms
    absolute, _ = permuted_si_snr(batch.sources, waveforms)
    return si_snr_improvement(absolute, batch.sources, batch.mixture).mean(axis=1)


def main() -> None:
    """Prints a table, and writes it into `RESULTS`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True, help="a run of configs/voices.py")
    parser.add_argument("--mixtures", type=int, default=208)
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    run = audioslots_jax.load(options.workdir)
    lines = [f"| chunk | mean SI-SNRi, {options.mixtures} test mixtures |", "| --- | --- |"]
    for seconds in SECONDS:
        voices = Voices(
            sample_rate=run.sample_rate, samples=round(seconds * run.sample_rate), voices=TEST
        )
        batches = [
            voices.batch(HELD_OUT_SEED, step, range(BATCH), BATCH)
            for step in range(-(-options.mixtures // BATCH))
        ]
        values = np.concatenate([scores(run.separator, run.params, batch) for batch in batches])
        values = values[: options.mixtures].astype(np.float64)
        error = values.std(ddof=1) / len(values) ** 0.5
        lines.append(f"| {seconds:g} s | {values.mean():.2f} +- {error:.2f} dB |")
        print(lines[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "table.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
