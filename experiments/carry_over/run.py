"""Does a voice stay in its slot? ``python experiments/carry_over/run.py --workdir=RUN``.

Separates whole test mixtures with the model of a run that was trained on sequences, with and
without slots that carry over, and with and without blind stitching.
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
from jaxtyping import Array, Float, Int

sys.path.insert(0, str(Path(__file__).parents[2]))

from audioslots_jax.audio import blind_order, order_like, reorder, split
from audioslots_jax.data.batch import Whole
from audioslots_jax.evaluation.scores import score
from audioslots_jax.inference import RecordingSeparator
from audioslots_jax.inference.gain import Gain
from audioslots_jax.separator import Separator
from audioslots_jax.sequences import carry_over
from experiments.blind_stitching.run import join, mean_and_error, open_run

CARRIED, BLIND, BOTH = "carry-over", "blind stitching", "carry-over and blind stitching"
OWN, TRUTH = "the queries' own order", "the truth (oracle stitching of carry-over)"


def main() -> None:
    """Prints a table, and writes it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="trained with train.sequence")
    parser.add_argument("--mixtures", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    trained, wholes = open_run(options.workdir, options.mixtures)
    table = as_table([measure(trained, whole) for whole in wholes])
    print(table)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / f"{options.workdir.name}.md").write_text(f"{table}\n")


def measure(trained: RecordingSeparator, whole: Whole) -> dict[str, tuple[float, float]]:
    """Returns SI-SNRi, mean over the sources, and swaps per joint, by what keeps the order."""
    hop, length = trained.hop, trained.chunk
    chunks, targets = (split(jnp.asarray(x), length, hop) for x in (whole.mixture, whole.sources))
    targets = jnp.swapaxes(targets, 0, 1)
    gain = Gain(trained.level, trained.crop)(np.asarray(chunks)[:, None])
    ways = in_every_way(trained.separator, hop, trained.params, chunks, targets, gain)
    result = {}
    for name, (estimates, swaps) in ways.items():
        joined = join(np.asarray(estimates), whole.mixture, hop)
        improvement = score(whole, joined, length).si_snri
        result[name] = float(np.mean(improvement)), float(swaps)
    return result


@functools.partial(jax.jit, static_argnums=(0, 1))
def in_every_way(
    separator: Separator, hop: int, params: Any, chunks: Any, targets: Any, gain: Any
) -> dict[str, tuple[Array, Array]]:
    """Returns the estimates of all chunks (chunk, slot, length), and their swaps per joint."""
    alone = separator(params, chunks, gain=gain)
    carried = carry_over(separator, params, chunks[:, None], gain=gain)
    carried_waveforms, carried_slots = carried.waveforms[:, 0], carried.slots[:, 0]
    stft = separator.front_end.stft

    def stitched(estimates: Array, slots: Array) -> Array:
        return reorder(estimates, blind_order(estimates, hop, slots, stft))

    ways = {
        CARRIED: carried_waveforms,
        BLIND: stitched(alone.waveforms, alone.slots),
        BOTH: stitched(carried_waveforms, carried_slots),
        OWN: alone.waveforms,
        TRUTH: reorder(carried_waveforms, order_like(carried_waveforms, targets)),
    }
    return {name: (x, swaps_per_joint(order_like(x, targets))) for name, x in ways.items()}


def swaps_per_joint(order: Int[Array, "chunk source"]) -> Float[Array, ""]:
    """Returns how often a source is in another slot than in the chunk before."""
    moved = jnp.any(order[1:] != order[:-1], axis=1)
    return jnp.mean(moved.astype(jnp.float32))


def as_table(scores: list[dict[str, tuple[float, float]]]) -> str:
    """Returns a Markdown table: means over mixtures, and their standard errors."""
    lines = [
        f"| what keeps the order | SI-SNRi, {len(scores)} mixtures | less carry-over's | "
        "swaps per 100 joints | less those of the queries' own order |",
        "| --- | --- | --- | --- | --- |",
    ]
    columns = {name: np.array([each[name] for each in scores]) for name in scores[0]}
    reference, own = columns[CARRIED][:, 0], 100 * columns[OWN][:, 1]
    for name, values in columns.items():
        swaps = 100 * values[:, 1]
        cells = [mean_and_error(x) for x in (values[:, 0], values[:, 0] - reference)]
        cells += [mean_and_error(x).removesuffix(" dB") for x in (swaps, swaps - own)]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join([*lines, "", "Means and their standard errors over the mixtures."])


if __name__ == "__main__":
    main()
