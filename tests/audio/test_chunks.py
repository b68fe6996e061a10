"""Cutting, and the orders of slots: whatever happens, no slot is taken twice."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from audioslots_jax.audio import STFT
from audioslots_jax.audio import chunks as functions
from audioslots_jax.audio.chunks import Chunk

HOP = 200
blind_order = jax.jit(lambda cut: functions.blind_order(cut, HOP))
continue_order = jax.jit(
    lambda previous, cut: functions.continue_order(
        previous, cut, jnp.zeros((*cut.shape[:2], 1)), HOP, STFT()
    )
)
order_like, chain = jax.jit(functions.order_like), jax.jit(functions.chain)
reorder, split = jax.jit(functions.reorder), jax.jit(functions.split, static_argnums=(1, 2))


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 400, 401, 1003])
@pytest.mark.parametrize("hop", [400, 200, 90])
def test_chunks_hold_every_sample_and_none_is_too_many(samples, hop):
    waveform = np.arange(1.0, samples + 1, dtype=np.float32)
    cut = np.asarray(split(waveform, 400, hop))
    for number, chunk in enumerate(cut):
        heard = waveform[number * hop :][:400]
        np.testing.assert_array_equal(chunk, np.pad(heard, (0, 400 - len(heard))))
    last = (len(cut) - 1) * hop
    assert last == 0 or last + 400 - hop < samples <= last + 400


def shuffled(cut, seed):
    random = np.random.default_rng(seed)
    number, slots = cut.shape[:2]
    order = np.stack([random.permutation(slots) for _ in range(number)])
    return np.take_along_axis(cut, order[:, :, None], axis=1), order


@pytest.mark.parametrize("slots", [1, 3])
def test_orders_undo_any_shuffling(slots):
    """Blindly up to the order of the first chunk, by the truth entirely; in one go, or in two."""
    cut = np.swapaxes(split(random(slots, 3000), 400, HOP), 0, 1)
    noisy = cut + 0.5 * random(*cut.shape, seed=1)
    mixed, order = shuffled(noisy, seed=2)
    blind = blind_order(mixed)
    np.testing.assert_array_equal(blind[0], np.arange(slots))
    restored = reorder(mixed, blind)
    expected = noisy[:, order[0]]
    np.testing.assert_array_equal(restored, expected)
    np.testing.assert_array_equal(reorder(mixed, order_like(mixed, cut)), noisy)
    previous, parts = Chunk(jnp.asarray(mixed[0]), jnp.zeros((slots, 1))), []
    for part in (mixed[1:7], mixed[7:]):
        ordered, _, previous = continue_order(previous, part)
        parts.append(ordered)
    np.testing.assert_array_equal(np.concatenate(parts), restored[1:])


def test_more_slots_than_sources_leave_some_over():
    cut = np.swapaxes(split(random(2, 3000), 400, HOP), 0, 1)
    mixed, _ = shuffled(np.concatenate([cut, 0.1 * random(len(cut), 3, 400)], axis=1), seed=2)
    np.testing.assert_array_equal(reorder(mixed, order_like(mixed, cut)), cut)


def test_silence_keeps_the_order():
    silence = np.zeros((5, 3, 400), np.float32)
    np.testing.assert_array_equal(blind_order(silence), np.tile(np.arange(3), (5, 1)))


def test_one_chunk_is_in_order():
    np.testing.assert_array_equal(blind_order(random(1, 2, 400)), [[0, 1]])


examples = hypothesis.settings(deadline=None, max_examples=30, derandomize=True, database=None)
wrongs = st.dictionaries(st.integers(0, 7), st.sampled_from([np.nan, np.inf, -np.inf]))


@examples
@hypothesis.given(wrongs=wrongs)
def test_joints_without_an_assignment_keep_the_order_and_the_others_do_not_mind(wrongs):
    costs = random(8, 3, 3)
    for joint, wrong in wrongs.items():
        costs[joint, joint % 3, 1] = wrong
    orders = np.asarray(chain(costs))
    np.testing.assert_array_equal(orders[0], np.arange(3))
    for joint, cost in enumerate(costs):
        follows = np.arange(3) if joint in wrongs else linear_sum_assignment(cost)[1]
        np.testing.assert_array_equal(orders[joint + 1], follows[orders[joint]])


@examples
@hypothesis.given(wrongs=wrongs)
def test_chunks_that_are_not_finite_keep_the_order_of_the_chunk_before(wrongs):
    """By the truth, every other chunk has its own order; blindly, it continues what is there."""
    cut = random(8, 3, 400)
    mixed, order = shuffled(cut, seed=3)
    for chunk, wrong in wrongs.items():
        mixed[chunk, chunk % 3, 7] = wrong
    restoring, last = np.argsort(order, axis=1), np.arange(3)
    by_truth, blind = order_like(mixed, cut), blind_order(mixed)
    for chunk in range(8):
        last = last if chunk in wrongs else restoring[chunk]
        np.testing.assert_array_equal(by_truth[chunk], last)
        if chunk in wrongs and chunk:
            np.testing.assert_array_equal(blind[chunk], blind[chunk - 1])
    np.testing.assert_array_equal(np.sort(blind, axis=1), np.tile(np.arange(3), (8, 1)))
