"""What the order of slots costs: ``python experiments/blind_stitching/run.py --workdir=RUN``.

Separates whole test mixtures with the model of a run, and orders the slots of their chunks in
several ways.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Float

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.audio import blind_order, order_like, reorder, split
from audioslots_jax.audio.chunks import chain, difference
from audioslots_jax.data import data_sets
from audioslots_jax.data.batch import Whole
from audioslots_jax.evaluation.scores import score
from audioslots_jax.inference import RecordingSeparator, stitch
from audioslots_jax.inference.gain import Gain
from audioslots_jax.inference.stitching import batch_size
from audioslots_jax.separator import Separator
from audioslots_jax.workdir import read_data

OWN, SEPARATE = "the queries they start from", "spectrograms and embeddings (`separate`)"


def main() -> None:
    """Prints a table, and writes it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="a run of main.py")
    parser.add_argument("--mixtures", type=int, default=200)
    results = Path(__file__).with_name("results")
    parser.add_argument("--output", type=Path, default=results, help="folder for orders.md")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    trained, wholes = open_run(options.workdir, options.mixtures)
    table = as_table([scores_of(trained, whole) for whole in wholes])
    print(table)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "orders.md").write_text(f"{table}\n")


def open_run(workdir: Path, count: int) -> tuple[RecordingSeparator, Sequence[Whole]]:
    """Returns the model of a run, and so many whole test mixtures."""
    trained = audioslots_jax.load(workdir)
    data_set = data_sets.make(trained.config["data"])
    return trained, data_set.open_test(read_data(workdir).held_out or {}, count)


def scores_of(trained: RecordingSeparator, whole: Whole) -> dict[str, float]:
    """Returns the mean SI-SNR of the sources of a mixture, by what the order of slots is from."""
    estimates = {SEPARATE: np.asarray(trained(whole.mixture, trained.sample_rate))}
    hop = trained.hop
    channels = map(jnp.asarray, (whole.mixture, whole.sources))
    chunks, targets = (split(x, trained.chunk, hop) for x in channels)
    gain = Gain(trained.level, trained.crop)(np.asarray(chunks)[:, None])
    ways = ordered(trained.separator, hop, trained.params, chunks, targets, gain)
    for name, slots in ways.items():
        estimates[name] = join(np.asarray(slots), whole.mixture, hop)
    return {
        name: float(np.mean(score(whole, waveforms, trained.chunk).si_snr))
        for name, waveforms in estimates.items()
    }


def join(
    slots: Float[np.ndarray, "chunk slot length"], mixture: Float[np.ndarray, " sample"], hop: int
) -> Float[np.ndarray, "slot sample"]:
    """Returns the chunks of a mixture faded into each other, as `stitch` does it."""
    size = batch_size(slots.shape[2])
    padded = np.pad(slots[:, :, None], [(0, -len(slots) % size), *[(0, 0)] * 3])
    batches = iter(np.split(padded, len(padded) // size))
    stitched = stitch(lambda _: next(batches), [mixture[None]], slots.shape[2], hop)
    return np.concatenate(list(stitched), axis=-1)[:, 0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def ordered(
    separator: Separator, hop: int, params: Any, chunks: Any, targets: Any, gain: Any
) -> dict[str, jax.Array]:
    """Returns the estimates of all chunks (chunk, slot, length) in several orders."""
    estimates = separator(params, chunks, gain=gain).waveforms
    before, after = estimates[:-1, :, hop:], estimates[1:, :, : chunks.shape[1] - hop]
    stft = separator.front_end.stft
    orders = {
        "waveforms in the overlap": chain(difference(before, after)),
        "compressed spectrograms in the overlap": blind_order(estimates, hop, stft=stft),
        "the truth (oracle stitching)": order_like(estimates, jnp.swapaxes(targets, 0, 1)),
    }
    return {OWN: estimates} | {name: reorder(estimates, order) for name, order in orders.items()}


def as_table(scores: list[dict[str, float]]) -> str:
    """Returns a Markdown table of the scores of every mixture: means, and what is above `OWN`."""
    columns = {name: np.array([each[name] for each in scores]) for name in scores[0]}
    lines = [
        f"| the order of slots, by | mean SI-SNR, {len(scores)} mixtures | above {OWN} |",
        "| --- | --- | --- |",
    ]
    for name, values in sorted(columns.items(), key=lambda column: column[1].mean()):
        cells = (mean_and_error(x) for x in (values, values - columns[OWN]))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Means and their standard errors over the mixtures."])


def mean_and_error(values: np.ndarray) -> str:
    """Returns the mean and its standard error; of one value the latter is not known."""
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return f"{values.mean():.2f} ± {error:.2f} dB"


if __name__ == "__main__":
    main()
