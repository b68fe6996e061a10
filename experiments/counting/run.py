"""What stitching costs a model that counts: ``python experiments/counting/run.py --workdir=RUN``.

Separates whole test mixtures with the model of a run, orders the slots of their chunks in several
ways, and counts the slots that hold a source.
"""

import argparse
import functools
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.audio import blind_order, order_like, reorder, split, streams
from audioslots_jax.data import data_sets
from audioslots_jax.data.batch import Whole
from audioslots_jax.evaluation.scores import score
from audioslots_jax.inference import RecordingSeparator, stitch
from audioslots_jax.inference.gain import Gain
from audioslots_jax.inference.presence import PRESENT, Presences, stretch
from audioslots_jax.inference.stitching import batch_size
from audioslots_jax.separator import Separator

NEIGHBOURS, STREAMS, TRUTH = "neighbours", "streams (`separate`)", "the truth"


class Result(NamedTuple):
    """Of one mixture: mean SI-SNRi in dB (NaN of fewer than two sources), and whether its number is
    right by the mean presence weighted by energy, and by the best stretch.
    """

    si_snri: float
    by_energy: bool
    by_stretch: bool


def main() -> None:
    """Prints a table, and writes it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="a run that counts")
    parser.add_argument("--mixtures", type=int, default=128)
    parser.add_argument("--first", type=int, default=128, help="number of the first mixture")
    parser.add_argument("--seconds", type=float, help="of a chunk (default: the run's)")
    parser.add_argument("--overlap", type=float, default=0.75)
    parser.add_argument("--pauses", type=float, default=0.0, help="data.pauses of the mixtures")
    results = Path(__file__).with_name("results")
    parser.add_argument("--output", type=Path, default=results, help="folder for the table")
    parser.add_argument("--name", default="counting", help="of the table")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    trained = audioslots_jax.load(options.workdir)
    data_set = data_sets.make({**trained.config["data"], "pauses": options.pauses})
    length = round((options.seconds or 0) * trained.sample_rate) or trained.chunk
    hop = round(length * (1 - options.overlap))
    wholes = data_set.open_test({}, options.first + options.mixtures)
    numbers = range(options.first, options.first + options.mixtures)
    table = as_table([results_of(trained, wholes[i], length, hop) for i in numbers])
    print(table)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / f"{options.name}.md").write_text(f"{table}\n")


def results_of(
    trained: RecordingSeparator, whole: Whole, length: int, hop: int
) -> dict[str, Result]:
    """Returns what becomes of a mixture in chunks of so many samples, by the order of slots."""
    sources = np.zeros((trained.separator.slots, len(whole.mixture)), np.float32)
    sources[: len(whole.sources)] = whole.sources
    chunks, targets = (split(jnp.asarray(x), length, hop) for x in (whole.mixture, sources))
    gain = Gain(trained.level, trained.crop)(np.asarray(chunks)[:, None])
    made, presence, orders = ordered(
        trained.separator, hop, trained.params, chunks, jnp.swapaxes(targets, 0, 1), gain
    )
    results = {}
    for name, order in orders.items():
        slots = np.asarray(reorder(made, order))
        said = np.take_along_axis(np.asarray(presence), np.asarray(order), axis=1)
        energies = np.square(slots).sum(axis=2)
        presences = Presences(slots.shape[1], stretch(hop, trained.sample_rate))
        presences.add(said[:, :, None], energies[:, :, None])
        weighted = (said * energies).sum(axis=0) / np.maximum(energies.sum(axis=0), 1e-30)
        improvement = np.nan
        if len(whole.sources) > 1:
            estimates = joined(slots, whole.mixture, hop)
            improvement = float(np.mean(score(whole, estimates, trained.crop).si_snri))
        right = (
            np.sum(p >= PRESENT) == len(whole.sources) for p in (weighted, presences.probabilities)
        )
        results[name] = Result(improvement, *map(bool, right))
    return results


@functools.partial(jax.jit, static_argnums=(0, 1))
def ordered(
    separator: Separator, hop: int, params: Any, chunks: Any, targets: Any, gain: Any
) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
    """Returns estimates of all chunks, presence of their slots, and orders of these."""
    made, stft = separator(params, chunks, gain=gain), separator.front_end.stft
    presence = jax.nn.sigmoid(made.named["presence"])
    none = streams.start(separator.slots, chunks.shape[1], made.slots.shape[2], stft)
    followed = streams.follow(none, made.waveforms, made.slots, presence, hop, stft)[1]
    return made.waveforms, presence, {
        NEIGHBOURS: blind_order(made.waveforms, hop, made.slots, stft),
        STREAMS: followed,
        TRUTH: order_like(made.waveforms, targets),
    }  # fmt: skip


def joined(slots: np.ndarray, mixture: np.ndarray, hop: int) -> np.ndarray:
    """Returns the chunks of a mixture faded into each other, as `stitch` does it."""
    size = batch_size(slots.shape[2])
    padded = np.pad(slots[:, :, None], [(0, -len(slots) % size), *[(0, 0)] * 3])
    batches = iter(np.split(padded, len(padded) // size))
    stitched = stitch(lambda _: next(batches), [mixture[None]], slots.shape[2], hop)
    return np.concatenate(list(stitched), axis=-1)[:, 0]


def as_table(results: list[dict[str, Result]]) -> str:
    """Returns a Markdown table: means, and standard errors over the mixtures."""
    several = [each for each in results if np.isfinite(each[TRUTH].si_snri)]
    lines = [
        f"| order | SI-SNRi, {len(several)} mixtures | above {NEIGHBOURS} "
        f"| number right by energy, {len(results)} mixtures | by the best stretch |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in results[0]:
        values = np.array([each[name].si_snri for each in several])
        gains = values - [each[NEIGHBOURS].si_snri for each in several]
        cells = [
            f"{x.mean():.2f} ± {x.std(ddof=1) / len(x) ** 0.5:.2f} dB" for x in (values, gains)
        ]
        for field in ("by_energy", "by_stretch"):
            cells.append(f"{100 * np.mean([getattr(each[name], field) for each in results]):.1f} %")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
