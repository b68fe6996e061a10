"""What the order of slots costs: ``python experiments/blind_stitching/run.py --workdir=RUN``.

Separates 10 s mixtures of held-out voices with the model of a run, and orders the slots of their
chunks in several ways.
"""

import argparse
import functools
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.audio import (
    MASKS,
    apply_masks,
    blind_order,
    expand,
    join,
    oracle_order,
    permuted_si_snr,
    reorder,
    split,
)
from audioslots_jax.audio.chunks import blind_hop, chain, difference
from audioslots_jax.data import Voices
from audioslots_jax.separation import Separator

SECONDS = 10


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True, help="a run of configs/voices.py")
    parser.add_argument("--mixtures", type=int, default=60)
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    separator = audioslots_jax.load(options.workdir)
    samples = SECONDS * separator.sample_rate
    voices = Voices(sample_rate=separator.sample_rate, samples=samples, held_out=True)
    score_all = jax.jit(functools.partial(scores, separator))
    found: dict[str, list[float]] = {}
    for number in range(options.mixtures):
        for name, score in score_all(voices.batch(0, number, range(1), 1)[0]).items():
            found.setdefault(name, []).append(float(score))
    print(f"| the order of slots, by | mean SI-SNR, {options.mixtures} mixtures of {SECONDS} s |")
    print("| --- | --- |")
    for mean, name in sorted((statistics.mean(values), name) for name, values in found.items()):
        print(f"| {name} | {mean:.2f} dB |")


def scores(separator: Separator, sources: jax.Array) -> dict[str, jax.Array]:
    """Mean SI-SNR of a mixture of ``sources`` (source, sample) under every order."""
    task, length = separator.task, separator.chunk
    hop = blind_hop(length)
    spectrograms = task.stft(split(jnp.sum(sources, axis=0), length, hop))
    outputs = task.apply(separator.params, spectrograms[:, None])
    masks = MASKS["wiener"](expand(outputs.spectrograms, task.power))
    estimates = task.stft.inverse(apply_masks(masks, spectrograms), length)
    targets = jnp.swapaxes(split(sources, length, hop), 0, 1)
    before, after = estimates[:-1, :, hop:], estimates[1:, :, : length - hop]
    orders: dict[str, Callable[[], jax.Array]] = {
        "the queries they start from": lambda: jnp.tile(np.arange(task.slots), (len(masks), 1)),
        "waveforms in the overlap": lambda: chain(difference(before, after)),
        "compressed spectrograms in the overlap": lambda: blind_order(
            estimates, hop, stft=task.stft
        ),
        "spectrograms and embeddings (`separate`)": lambda: blind_order(
            estimates, hop, outputs.slots, task.stft
        ),
        "the truth (oracle stitching)": lambda: oracle_order(estimates, targets),
    }
    return {
        name: permuted_si_snr(sources, join(reorder(estimates, order()), hop, sources.shape[1]))[
            0
        ].mean()
        for name, order in orders.items()
    }


if __name__ == "__main__":
    main()
