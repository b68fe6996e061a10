"""What slots beyond the number of voices hold: ``more_slots.py --workdir=RUN``; see README.md."""

import argparse
import copy
import functools
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Float

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax import separator as separators
from audioslots_jax.data.batch import HELD_OUT_SEED, Batch
from audioslots_jax.data.voices import TEST, Voices
from audioslots_jax.evaluation.evaluators import si_snr_scores
from audioslots_jax.separator import Separator

SLOTS, DRAWS, ROWS = (2, 3, 4), 3, 32


def main() -> None:
    """Prints a table, and writes it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="of slots that start randomly")
    parser.add_argument("--mixtures", type=int, default=256)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    trained = audioslots_jax.load(options.workdir)
    if trained.config["model"]["slot_module"].get("start") != "random":
        parser.error(f"--workdir: the slots of {options.workdir} have learned starts.")
    voices = Voices(trained.sample_rate, trained.crop, voices=TEST)
    lines = [
        "| slots | SI-SNRi of the two nearest the truth | energy of each other | its "
        "cosine to the nearest of the two | to the mixture |",
        "| --- | --- | --- | --- | --- |",
    ]
    for slots in SLOTS:
        config = copy.deepcopy(dict(trained.config))
        config["model"]["slots"] = slots
        separator = separators.build(config, trained.crop)
        parts = []
        for first in range(0, options.mixtures, ROWS):
            rows = range(first, min(first + ROWS, options.mixtures))
            batch = Batch(*map(jnp.asarray, voices.batch(HELD_OUT_SEED, 0, rows, len(rows))))
            keys = map(jax.random.key, range(DRAWS))
            draws = [held(separator, trained.params, batch, key) for key in keys]
            # Draws of one mixture are not independent of each other.
            parts.append([np.mean(each, axis=0) for each in zip(*draws, strict=True)])
        scores, *others = (np.concatenate(each) for each in zip(*parts, strict=True))
        cells = [f"{x.mean():.2f}" if x.size else "" for x in others]
        cells[0] += " dB" * bool(cells[0])
        error = np.std(scores, ddof=1) / len(scores) ** 0.5
        row = [str(slots), f"{scores.mean():.2f} ± {error:.2f} dB", *cells]
        lines.append(f"| {' | '.join(row)} |")
    table = "\n".join(lines)
    print(table)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "more_slots.md").write_text(f"{table}\n")


@functools.partial(jax.jit, static_argnums=0)
def held(
    separator: Separator, params: Any, batch: Batch, key: Array
) -> tuple[Float[Array, " batch"], ...]:
    """Returns the SI-SNRi in dB (batch,) of the two slots that fit the true sources best.

    And of every other slot (batch, slot): its energy in dB of the mixture's, and the cosines of its
    magnitudes to the nearer of these two, and to the mixture.
    """
    estimates = separator(params, batch.mixture, key=key)
    scores, _, order = si_snr_scores(batch, estimates.waveforms)
    chosen = jnp.any(order[:, :, None] == jnp.arange(separator.slots)[None, None], axis=1)
    others = jnp.argsort(chosen, axis=1)[:, : separator.slots - order.shape[1]]
    energy = jnp.mean(jnp.square(estimates.waveforms), axis=-1)
    energy /= jnp.mean(jnp.square(batch.mixture), axis=-1, keepdims=True)
    flat = estimates.magnitudes.reshape(*energy.shape, -1)
    flat /= jnp.maximum(jnp.linalg.norm(flat, axis=-1, keepdims=True), 1e-6)
    alike = jnp.einsum("bsc,btc->bst", flat, flat)
    nearest = jnp.max(jnp.where(chosen[:, None], alike, -1.0), axis=2)
    mixture = separator.front_end.magnitudes(batch.mixture).reshape(len(flat), -1)
    mixture /= jnp.maximum(jnp.linalg.norm(mixture, axis=-1, keepdims=True), 1e-6)
    whole = jnp.einsum("bsc,bc->bs", flat, mixture)
    decibels = 10 * jnp.log10(jnp.maximum(energy, 1e-10))
    about = (jnp.take_along_axis(x, others, axis=1) for x in (decibels, nearest, whole))
    return scores, *about


if __name__ == "__main__":
    main()
