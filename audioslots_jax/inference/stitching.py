"""Recordings of any length in chunks: the one place where they are cut, and joined again."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jaxtyping import Array, Float, Float32

from audioslots_jax.audio.chunks import fade

# Chunks that are processed together: so many, or as many as these samples hold.
BATCH, BATCH_SAMPLES = 32, 2**18

Process = Callable[
    [Float32[np.ndarray, "chunk channel length"]],
    Float[Array | np.ndarray, "chunk slot channel_out length"],
]


def stitch(
    process: Process,
    blocks: Iterable[Float32[np.ndarray, "channel sample"]],
    length: int,
    hop: int,
) -> Iterator[Float32[np.ndarray, "slot channel_out done"]]:
    """Processes the chunks of a recording, and fades what comes of them into each other.

    The chunks are those of `audio.split`, whatever the blocks. Where they overlap, a sample counts
    the more the farther it is from a chunk's edges. What is kept in memory does not depend on the
    length of the recording.

    Args:
      process: a function of `batch_size` chunks, called for one batch after the other. The last is
        filled up with chunks of zeros, and what comes of those is not looked at.
      blocks: the recording, in blocks of any lengths.
      length: of a chunk, in samples.
      hop: distance between the starts of chunks, at most ``length``.

    Yields:
      Blocks of the result, which is as long as the recording.
    """
    size = batch_size(length)
    step, weights = size * hop, fade(length).astype(np.float32)
    # What earlier chunks have given to samples that later ones reach too; for a start, nothing.
    faded, total = np.zeros((1, 1, length - hop), np.float32), np.zeros(length - hop, np.float32)
    for samples, chunks in _batches(blocks, length, hop):
        starts = range(0, chunks * hop, hop)
        if chunks:
            batch = np.zeros((size, len(samples), length), np.float32)
            for chunk, start in zip(batch, starts, strict=False):
                heard = samples[:, start : start + length]
                chunk[:, : heard.shape[1]] = heard
            made = np.asarray(process(batch))
            faded = np.broadcast_to(faded, (*made.shape[1:3], length - hop))
        later = ((0, 0), (0, 0), (0, step))
        faded, total = np.pad(faded, later), np.pad(total, later[-1])
        for number, start in enumerate(starts):
            faded[..., start : start + length] += weights * made[number]
            total[start : start + length] += weights
        done = step if samples.shape[1] == len(total) else samples.shape[1]
        yield faded[..., :done] / total[:done]
        faded, total = faded[..., step:], total[step:]


def batch_size(length: int) -> int:
    """Returns the number of chunks of ``length`` samples that are processed together."""
    return max(min(BATCH, BATCH_SAMPLES // length), 1)


def _batches(
    blocks: Iterable[Float32[np.ndarray, "channel sample"]], length: int, hop: int
) -> Iterator[tuple[Float32[np.ndarray, "channel sample"], int]]:
    """Yields the samples that each batch's chunks reach, and the number of these chunks.

    At the end come the samples that are left, which may need no chunk any more.
    """
    size = batch_size(length)
    step, span = size * hop, (size - 1) * hop + length
    waiting: list[np.ndarray] = []
    held, first = 0, True
    for block in blocks:
        waiting.append(block)
        held += block.shape[1]
        if held >= span:
            samples = np.concatenate(waiting, axis=1)
            while samples.shape[1] >= span:
                yield samples[:, :span], size
                samples, first = samples[:, step:], False
            waiting, held = [samples], samples.shape[1]
    if held:
        left = -(-(held - (length - hop)) // hop)
        yield np.concatenate(waiting, axis=1), max(left, 1 if first else 0)
