"""Streams: sources stay where they are, whatever becomes of them and of empty slots."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.audio import STFT, split, streams

LENGTH, HOP, RATE = 1600, 400, 8000
CUT = STFT(window=256, hop=128)
follow = jax.jit(streams.follow, static_argnums=(4, 5))


def tone(hertz, samples=16_000, seed=0):
    """A buzz with noise in it, as different from others as voices are."""
    seconds = np.arange(samples) / RATE
    wave = sum(np.sin(2 * np.pi * hertz * k * seconds) / k for k in (1, 2, 3))
    return (0.1 * wave + np.random.default_rng(seed).normal(0, 1e-3, samples)).astype(np.float32)


def chunks_of(sources):
    """Chunks of sources, and which of them are there."""
    cut = np.swapaxes(np.asarray(split(jnp.asarray(sources), LENGTH, HOP)), 0, 1)
    return cut, (np.square(cut).mean(axis=2) > 1e-4).astype(np.float32)


def ordered(cut, presence, embeddings=None, hop=HOP, state=None):
    slots = cut.shape[1]
    embeddings = np.zeros((*cut.shape[:2], 2), np.float32) if embeddings is None else embeddings
    state = state or streams.start(slots, LENGTH, embeddings.shape[2], CUT)
    return follow(state, cut, embeddings, presence, hop, CUT)


def shuffled(*arrays, seed=0):
    random = np.random.default_rng(seed)
    order = np.stack([random.permutation(arrays[0].shape[1]) for _ in arrays[0]])
    return [np.take_along_axis(x, order[(...,) + (None,) * (x.ndim - 2)], axis=1) for x in arrays]


def test_any_shuffling_is_undone_up_to_the_first_chunk():
    """Two sources and two empty slots, in one call or in two."""
    sources = np.stack([tone(310), tone(530), np.zeros(16_000, np.float32)])
    cut, presence = chunks_of(np.concatenate([sources, 1e-4 * tone(90)[None]]))
    mixed, said = shuffled(cut, presence)
    whole, order, _ = ordered(mixed, said)
    np.testing.assert_array_equal(order[0], np.arange(4))
    heard = [i for i in range(4) if said[0, i]]
    expected = [cut[:, [310, 530].index(_pitch(mixed[0, i]))] for i in heard]
    np.testing.assert_array_equal(np.asarray(whole)[:, heard], np.stack(expected, axis=1))
    first, _, state = ordered(mixed[:7], said[:7])
    second, _, _ = ordered(mixed[7:], said[7:], state=state)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)


def _pitch(wave):
    spectrum = np.abs(np.fft.rfft(wave))
    return min((310, 530), key=lambda hertz: -spectrum[round(hertz * LENGTH / RATE)])


@pytest.mark.parametrize("seed", range(4))
def test_a_source_that_pauses_comes_back_to_its_stream(seed):
    """After a pause that is longer than chunks overlap, and while another goes on."""
    first, second = tone(310, 24_000, 1), tone(530, 24_000, 2)
    first[8000:14_000] = 0
    cut, presence = chunks_of(np.stack([first, second, np.zeros_like(first)]))
    mixed, said = shuffled(cut, presence, seed=seed)
    # The first chunk says which stream is whose.
    mixed[0], said[0] = cut[0], presence[0]
    found, order, _ = ordered(mixed, said)
    heard = np.take_along_axis(said, np.asarray(order), axis=1)
    np.testing.assert_array_equal(heard, presence)
    np.testing.assert_array_equal(np.asarray(found)[:, :2], cut[:, :2])


@pytest.mark.parametrize("seed", range(4))
def test_a_new_source_begins_a_stream_of_its_own(seed):
    """Not that of a source that has stopped before."""
    first, second = tone(310, seed=1), tone(530, seed=2)
    first[6000:], second[:9000] = 0, 0
    cut, presence = chunks_of(np.stack([first, second, np.zeros_like(first)]))
    mixed, said = shuffled(cut, presence, seed=seed)
    mixed[0], said[0] = cut[0], presence[0]
    _, order, _ = ordered(mixed, said)
    heard = np.take_along_axis(said, np.asarray(order), axis=1)
    assert heard[:, 0].sum() == presence[:, 0].sum()
    assert sorted(heard[:, 1:].sum(axis=0)) == [0, presence[:, 1].sum()]


def test_a_chunk_that_mixes_two_sources_does_not_change_them_for_good():
    sources = np.stack([tone(310), tone(530)])
    cut, presence = chunks_of(sources)
    mixed = cut.copy()
    mixed[12] = cut[12].mean(axis=0)
    mixed[13:] = cut[13:, ::-1]
    found, _, _ = ordered(mixed, presence)
    np.testing.assert_array_equal(np.asarray(found)[13:], cut[13:])


def test_silence_and_what_is_not_finite_keep_an_order():
    silence = np.zeros((5, 3, LENGTH), np.float32)
    _, order, _ = ordered(silence, np.zeros((5, 3), np.float32))
    np.testing.assert_array_equal(order, np.tile(np.arange(3), (5, 1)))
    broken = silence + np.float32(np.nan)
    _, order, _ = ordered(broken, np.ones((5, 3), np.float32))
    np.testing.assert_array_equal(order, np.tile(np.arange(3), (5, 1)))
