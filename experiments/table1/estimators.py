"""What the rows of the ladder differ in: where the magnitudes come from that masks are made of."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from audioslots_jax import UserError, scoring
from audioslots_jax.audio import STFT, expand
from audioslots_jax.data.libri2mix import SOURCES
from audioslots_jax.data.utterances import SAMPLE_RATE

CHUNKS = {0.5: SAMPLE_RATE // 2, 1.0: SAMPLE_RATE}  # seconds: samples
PROTOCOLS = {"A": STFT(edges="chunk_edge"), "B": STFT(edges="centred")}
# Chunks that a network sees at once: all those of a mixture would fill a small machine's memory.
BATCH = 16


class Estimator(NamedTuple):
    """A row.

    Attributes:
      row: its name.
      chunks: the lengths of chunk that it can do, in seconds.
      magnitudes: from (params, chunks of the true sources, STFT) to magnitudes.
      params: of a network.
    """

    row: str
    chunks: tuple[float, ...]
    magnitudes: Callable[[Any, Float[Array, "chunk source sample"], STFT], Float[Array, "..."]]
    params: Any = None


ORACLE = Estimator(
    "oracle", tuple(CHUNKS), lambda _, pieces, stft: scoring.oracle(pieces, stft)
)  # fmt: skip


def load(run: Path, row: str) -> Estimator:
    """The row that the network of a run makes: ``autoencoder`` or ``audioslots``.

    Raises:
      UserError: if there is no network in the run, or not one for this row and this ladder.
    """
    import audioslots_jax

    separator = audioslots_jax.load(run)
    task, seconds = separator.task, separator.chunk / separator.sample_rate
    if separator.sample_rate != SAMPLE_RATE:
        raise UserError(
            f"{run} was trained at {separator.sample_rate} Hz; Libri2Mix is scored at "
            f"{SAMPLE_RATE} Hz: choose a run at that rate."
        )
    if seconds not in CHUNKS:
        raise UserError(
            f"{run} was trained on chunks of {seconds:g} s; the table has rows for "
            f"{' and '.join(f'{chunk:g} s' for chunk in CHUNKS)}."
        )
    if any((task.stft.window, task.stft.hop) != (s.window, s.hop) for s in PROTOCOLS.values()):
        raise UserError(
            f"{run} was trained with an STFT of window {task.stft.window} and hop "
            f"{task.stft.hop}; the table has {PROTOCOLS['A'].window} and {PROTOCOLS['A'].hop}."
        )
    slots = 1 if row == "autoencoder" else SOURCES
    if task.slots != slots:
        raise UserError(
            f"{run} has a network with {task.slots} slots; the row {row} needs one with {slots}: "
            "--autoencoder takes a run with one slot, --model one with two."
        )

    def magnitudes(
        params: Any, pieces: Float[Array, "chunk source sample"], stft: STFT
    ) -> Float[Array, "chunk source frequency time"]:
        # The network sees the spectrogram that its masks are for, whichever it was trained on.
        seen = dataclasses.replace(task, stft=stft)

        def one(piece: Float[Array, "source sample"]) -> Float[Array, "source frequency time"]:
            # One item with a slot for each source, or, for an autoencoder, one item per source.
            outputs = seen.apply(params, seen.spectrograms(piece[None])).spectrograms
            return expand(outputs.reshape(-1, *outputs.shape[-2:]), task.power)

        return jax.lax.map(one, pieces, batch_size=BATCH)

    return Estimator(row, (seconds,), magnitudes, separator.params)
