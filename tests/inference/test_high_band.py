"""What lies above a model's band: who gets it, and that nothing is lost."""

import numpy as np
import pytest
import scipy.signal

from audioslots_jax.inference.high_band import SEGMENT, share_rest

RATE, BAND = 16_000, 4000.0


def noise(low, high, samples, seed):
    """Band-limited, of the shape (sample,)."""
    band = scipy.signal.butter(8, (low, high), "bandpass", fs=RATE, output="sos")
    return scipy.signal.sosfilt(band, np.random.default_rng(seed).normal(0, 0.1, samples))


@pytest.fixture(scope="module")
def scene():
    """Two voices that speak in turns of 0.5 s, one softly in the upper quarter; and a channel."""
    time = np.arange(2 * RATE + 77)
    turns = (time // (RATE // 2)) % 2
    heard = [noise(200, 3900, len(time), seed) * (turns == seed) for seed in (0, 1)]
    hissed = [noise(4500, 7500, len(time), 5 + seed) * (turns == seed) for seed in (0, 1)]
    estimates = np.array([[voice, 0.1 * voice] for voice in heard], np.float32)
    recording = np.array([sum(heard) + sum(hissed), 0.1 * sum(heard)], np.float32)
    return recording, estimates, np.array(hissed)


def shared(recording, estimates, sizes=(10**9,)):
    """All at once, after blocks of the ``sizes`` in turn."""
    blocks, start, number = [], 0, 0
    while start < recording.shape[1]:
        stop = start + sizes[number % len(sizes)]
        blocks.append((recording[:, start:stop], estimates[..., start:stop]))
        start, number = stop, number + 1
    return np.concatenate(list(share_rest(iter(blocks), RATE, BAND)), axis=-1)


def test_the_slots_add_up_to_the_recording(scene):
    recording, estimates, _ = scene
    np.testing.assert_allclose(shared(recording, estimates).sum(axis=0), recording, atol=1e-6)


def test_whoever_speaks_gets_what_is_above(scene):
    recording, estimates, hissed = scene
    given = (shared(recording, estimates) - estimates)[:, 0]
    # The segments around a change of turns are shared.
    distance = np.arange(given.shape[1]) % (RATE // 2)
    inside = (distance > 3 * SEGMENT * RATE) & (distance < RATE // 2 - 3 * SEGMENT * RATE)
    wrong = np.square(given - hissed)[:, inside].sum()
    assert wrong < 1e-3 * np.square(hissed)[:, inside].sum()


@pytest.mark.parametrize("level", [1.0, 1e-4])
def test_shares_are_of_amplitudes_at_any_level(level):
    """Two slots that sound at once, one of three times the other's amplitude."""
    voice = level * noise(3200, 3800, RATE, 0)
    hiss = level * noise(5000, 7000, RATE, 1)
    estimates = np.array([[0.75 * voice], [0.25 * voice]], np.float32)
    given = shared(np.array([voice + hiss], np.float32), estimates) - estimates
    inner = slice(1000, -1000)
    np.testing.assert_allclose(given[0, 0, inner], 0.75 * hiss[inner], atol=1e-4 * level)


@pytest.mark.parametrize("sizes", [(1,), (255, 257), (1000, 1, 4096), (40_000,)])
def test_blocks_of_any_size_give_the_same(scene, sizes):
    recording, estimates, _ = scene
    recording, estimates = recording[:, :3000], estimates[..., :3000]
    expected = shared(recording, estimates)
    assert expected.shape == estimates.shape
    np.testing.assert_allclose(shared(recording, estimates, sizes), expected, atol=1e-6)


def test_silence_is_shared_alike():
    """Nothing says whose it is where the slots are silent, and nothing is divided by zero."""
    recording = np.full((1, 500), 0.1, np.float32)
    given = shared(recording, np.zeros((4, 1, 500), np.float32))
    np.testing.assert_allclose(given, 0.025, atol=1e-6)
