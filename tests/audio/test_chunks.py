import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.audio import blind_order, chunks, join, oracle_order, reorder, split


def random(*shape):
    return jax.random.normal(jax.random.key(0), shape)


@pytest.mark.parametrize("samples", [1, 400, 401, 1003])
@pytest.mark.parametrize("hop", [400, 200, 90])
def test_joining_undoes_splitting(samples, hop):
    waveform = random(2, samples)
    pieces = split(waveform, 400, hop)
    assert pieces.shape == (2, chunks.count(samples, 400, hop), 400)
    last = (pieces.shape[1] - 1) * hop
    assert last == 0 or last + 400 - hop < samples <= last + 400, "no chunk too many"
    joined = join(jnp.swapaxes(pieces, 0, 1), hop, samples)
    np.testing.assert_allclose(joined, waveform, atol=1e-6)


def test_chunks_lie_where_they_should():
    pieces = split(jnp.arange(10.0), 4, 3)
    np.testing.assert_array_equal(pieces, [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]])


def shuffled(pieces, seed):
    random = np.random.default_rng(seed)
    number, slots = pieces.shape[:2]
    order = np.stack([random.permutation(slots) for _ in range(number)])
    return reorder(pieces, jnp.asarray(order)), order


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_orders_undo_any_shuffling(slots):
    """Blindly up to the order of the first chunk, by the truth entirely."""
    sources = random(slots, 3000)
    pieces = jnp.swapaxes(split(sources, 400, 200), 0, 1)
    noisy = pieces + 0.5 * jax.random.normal(jax.random.key(1), pieces.shape)
    mixed, order = shuffled(noisy, seed=2)
    found = blind_order(mixed, 200)
    np.testing.assert_array_equal(found[0], np.arange(slots))
    restored = reorder(mixed, found)
    expected = reorder(noisy, jnp.broadcast_to(jnp.asarray(order[0]), order.shape))
    np.testing.assert_array_equal(restored, expected)
    np.testing.assert_array_equal(reorder(mixed, oracle_order(mixed, pieces)), noisy)


def test_silence_keeps_the_order():
    pieces = jnp.zeros((5, 3, 400))
    np.testing.assert_array_equal(blind_order(pieces, 200), np.tile(np.arange(3), (5, 1)))


def test_one_chunk_is_in_order():
    np.testing.assert_array_equal(blind_order(random(1, 2, 400), 200), [[0, 1]])
