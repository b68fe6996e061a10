"""Any recording, cut and joined again: nothing lost, nothing added, in bounded memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.audio import split
from audioslots_jax.inference.stitching import BATCH, BATCH_SAMPLES, stitch

LENGTH = 40
HOPS = [40, 20, 10, 7]
STEPS = {hop: BATCH * hop for hop in HOPS}
SPANS = {hop: (BATCH - 1) * hop + LENGTH for hop in HOPS}


cut = jax.jit(split, static_argnums=(1, 2))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def blocks_of(recording, sizes):
    """The recording in blocks of the given sizes over and over, some of them empty."""
    start = number = 0
    while start < recording.shape[1]:
        size = sizes[number % len(sizes)]
        yield recording[:, start : start + size]
        start, number = start + size, number + 1


def lengths(hop):
    """Around a chunk, and wherever the first or second batch of chunks begins or ends."""
    step, span = STEPS[hop], SPANS[hop]
    marks = {1, LENGTH, LENGTH + hop, step, span, (step + span) // 2, 2 * step, step + span}
    return sorted({max(mark + d, 1) for mark in marks for d in (-1, 0, 1)})


@pytest.mark.parametrize("hop", HOPS)
def test_chunks_are_those_of_split_whatever_the_length(hop):
    """As many as hold all samples, with what they hold; those that fill a batch are zeros."""
    for samples in lengths(hop):
        recording, batches = noise(2, samples), []

        def process(chunks, batches=batches):
            assert chunks.shape == (BATCH, 2, LENGTH)
            batches.append(chunks.copy())
            return chunks[:, None]

        list(stitch(process, blocks_of(recording, [13, 0, 500]), LENGTH, hop))
        expected = np.swapaxes(cut(jnp.asarray(recording), LENGTH, hop), 0, 1)
        chunks = np.concatenate(batches)
        np.testing.assert_array_equal(chunks[: len(expected)], expected)
        assert not chunks[len(expected) :].any()
        assert len(chunks) - len(expected) < BATCH, "no batch without a chunk"


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("sizes", [[1], [10**6], [7, 300]])
def test_what_is_cut_comes_back_as_it_was(hop, sizes):
    for samples in lengths(hop):
        recording = noise(2, samples)
        stitched = list(
            stitch(lambda x: np.stack([x, -x], 1), blocks_of(recording, sizes), LENGTH, hop)
        )
        joined = np.concatenate(stitched, axis=-1)
        np.testing.assert_allclose(joined, [recording, -recording], atol=1e-5)


def test_chunks_fade_into_each_other_by_their_distance_from_the_edges():
    """Chunks that hold their number: between two of them, the weighted mean."""
    made = iter([np.broadcast_to(np.arange(32.0)[:, None, None, None], (32, 1, 1, LENGTH))])
    (joined,) = stitch(lambda _: next(made), [noise(1, 60)], LENGTH, 20)
    weights = np.minimum(np.arange(LENGTH) + 0.5, LENGTH - np.arange(LENGTH) - 0.5)
    between = weights[:20] / (weights[:20] + weights[20:])
    expected = np.concatenate([np.zeros(20), between, np.ones(20)])
    np.testing.assert_allclose(joined[0, 0], expected, atol=1e-6)


def test_no_samples_give_none():
    assert not list(stitch(np.copy, [], LENGTH, 20))
    assert not list(stitch(np.copy, [noise(1, 0)], LENGTH, 20))


def test_blocks_come_while_the_recording_does():
    """What is kept is a batch of chunks, so after each batch its samples come out."""
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 100
            yield noise(1, 100)

    given, stitched = 0, stitch(lambda x: x[:, None], endless(), LENGTH, 10)
    for _ in range(20):
        given += next(stitched).shape[-1]
        assert read - given <= SPANS[10] - STEPS[10] + 100


@pytest.mark.parametrize("share", [0.7, 1.5, 3.5, 40])
def test_long_chunks_are_processed_few_at_a_time(share):
    """So that memory is bounded, whatever the length of a chunk."""
    length, seen = int(BATCH_SAMPLES / share), []
    recording = noise(1, 3 * BATCH_SAMPLES + 5)

    def process(chunks):
        seen.append(chunks.shape)
        return chunks[:, None]

    stitched = stitch(process, blocks_of(recording, [100_000]), length, length // 2)
    np.testing.assert_allclose(np.concatenate(list(stitched), axis=-1)[0], recording, atol=1e-5)
    assert set(seen) == {(max(min(BATCH, int(share)), 1), 1, length)}
