"""Scores of whole mixtures, against the definition in float64."""

import itertools

import numpy as np
import pytest

from audioslots_jax import UserError
from audioslots_jax.data.batch import Whole
from audioslots_jax.evaluation.scores import score

CHUNK = 100


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def si_snr(target, estimate):
    target, estimate = np.float64(target), np.float64(estimate)
    scaled = np.dot(target, estimate) / np.dot(target, target) * target
    return 10 * np.log10(np.sum(scaled**2) / np.sum((scaled - estimate) ** 2))


@pytest.mark.parametrize("samples", [99, 1000, 1730])
@pytest.mark.parametrize("slots", [2, 3])
def test_scores_are_those_of_the_best_choice_of_slots(samples, slots):
    """Of a mixture that is not the sum of its sources; and zeros at the end change nothing."""
    sources = noise(2, samples)
    mixture = sources.sum(axis=0) + 0.5 * noise(samples, seed=1)
    estimates = np.concatenate([noise(slots - 2, samples, seed=3), sources[::-1]])
    estimates = (estimates + 0.5 * noise(slots, samples, seed=2)).astype(np.float32)
    scores = score(Whole("x", mixture, sources), estimates, CHUNK)
    choices = itertools.permutations(range(slots), 2)
    best = max(choices, key=lambda c: sum(map(si_snr, sources, estimates[[*c]])))
    assert tuple(scores.permutation) == best == (slots - 1, slots - 2)
    expected = np.array([*map(si_snr, sources, estimates[[*best]])])
    np.testing.assert_allclose(scores.si_snr, expected, atol=1e-3)
    improvement = expected - [si_snr(source, mixture) for source in sources]
    np.testing.assert_allclose(scores.si_snri, improvement, atol=1e-3)
    assert scores.swaps == 0


def test_swaps_count_chunks_in_another_order():
    sources = noise(2, 10 * CHUNK)
    sources[:, 5 * CHUNK : 6 * CHUNK] = 0  # no order is wrong where there is no sound
    for swapped in ([], [1, 3, 5], range(10)):
        estimates = sources.copy()
        for chunk in swapped:
            part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
            estimates[:, part] = sources[::-1, part]
        scores = score(Whole("x", sources.sum(axis=0), sources), estimates, CHUNK)
        assert scores.swaps == (2 if len(swapped) == 3 else 0)


def test_a_silent_source_has_no_score():
    sources = noise(2, 100) * np.float32([[1], [0]])
    with pytest.raises(UserError, match="mixture x: a source is silent"):
        score(Whole("x", sources[0], sources), sources, CHUNK)
