import itertools

import fast_bss_eval.numpy as fast_bss_eval
import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from audioslots_jax import audio

permuted_si_snr, si_snr = jax.jit(audio.permuted_si_snr), jax.jit(audio.si_snr)
si_snr_improvement = jax.jit(audio.si_snr_improvement)


def signals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def reference(y, e):
    """The definition in float64."""
    y, e = np.asarray(y, np.float64), np.asarray(e, np.float64)
    scaled = np.sum(y * e) / np.sum(y**2) * y
    return 10 * np.log10(np.sum(scaled**2) / np.sum((scaled - e) ** 2))


@pytest.mark.parametrize("noise", [0.01, 0.3, 10.0])
def test_equals_definition(noise):
    y = signals(3, 1000)
    e = y + noise * signals(3, 1000, seed=1) + 0.5
    expected = [reference(a, b) for a, b in zip(y, e, strict=True)]
    np.testing.assert_allclose(si_snr(y, e), expected, atol=1e-3)
    np.testing.assert_allclose(si_snr(y, -7.0 * e), expected, atol=1e-3)


def test_equals_a_library_that_removes_no_mean():
    """fast_bss_eval, whose ``zero_mean`` others have on by default; the best permutation too."""
    y, noises = signals(5, 2, 4000), signals(5, 2, 4000, seed=1)
    e = (y + 0.3 * noises + 0.2)[:, ::-1]
    scores, permutation = permuted_si_snr(y, e)
    for one, other, score, order in zip(*map(np.float64, (y, e, scores)), permutation, strict=True):
        expected, found = fast_bss_eval.si_sdr(one, other, zero_mean=False, return_perm=True)
        np.testing.assert_allclose(score, expected, atol=1e-3)
        np.testing.assert_array_equal(order, found)
        differs = fast_bss_eval.si_sdr(one, other, zero_mean=True)
        assert np.all(np.abs(differs - score) > 0.5)


def test_no_mean_is_removed():
    y = signals(1000)
    e = y + 2.0
    assert float(si_snr(y, e)) == pytest.approx(reference(y, e), abs=1e-3)
    assert float(si_snr(y, e)) < 0  # removing means would make it perfect


def test_limits():
    y = signals(1000)
    assert float(si_snr(y, y)) == 120
    assert float(si_snr(y, np.zeros_like(y))) == -120
    assert np.isnan(si_snr(np.zeros_like(y), y))


@pytest.mark.parametrize("sources", [1, 2, 3, 4])
def test_permutation_is_the_best_of_all(sources):
    targets = signals(5, sources, 200)
    order = np.stack([np.random.default_rng(i).permutation(sources) for i in range(5)])
    noisy = targets + 0.5 * signals(5, sources, 200, seed=1)
    estimates = np.take_along_axis(noisy, order[:, :, None], axis=1)
    scores, matched = permuted_si_snr(targets, estimates)
    for i in range(5):
        best = max(
            np.mean([reference(targets[i, s], estimates[i, p[s]]) for s in range(sources)])
            for p in itertools.permutations(range(sources))
        )
        assert float(np.mean(scores[i])) == pytest.approx(best, abs=1e-3)
        np.testing.assert_array_equal(order[i][matched[i]], np.arange(sources))


@pytest.mark.parametrize(("sources", "slots"), [(1, 3), (2, 3), (2, 5), (3, 4)])
def test_slots_that_are_too_many_are_left_over(sources, slots):
    targets = signals(4, sources, 200)
    estimates = 0.7 * signals(4, slots, 200, seed=1) + signals(4, 1, 200, seed=2)
    scores, matched = permuted_si_snr(targets, estimates)
    for i in range(4):
        pairwise = np.array([[reference(y, e) for e in estimates[i]] for y in targets[i]])
        rows, columns = linear_sum_assignment(-pairwise)
        np.testing.assert_allclose(scores[i], pairwise[rows, columns], atol=1e-3)
        np.testing.assert_array_equal(matched[i], columns)


def test_slots_that_are_too_few_are_refused():
    with pytest.raises(ValueError, match="2 estimates are too few for 3 targets"):
        permuted_si_snr(signals(3, 100), signals(2, 100))


def test_silent_targets_leave_the_choice_to_the_others():
    targets = signals(2, 100) * np.float32([[0], [1]])
    scores, matched = permuted_si_snr(targets, targets[::-1])
    np.testing.assert_array_equal(matched, [1, 0])
    np.testing.assert_array_equal(scores, [np.nan, 120])


def test_improvement_of_the_mixture_is_zero():
    sources = signals(4, 2, 500)
    mixture = sources.sum(axis=1)
    scores, _ = permuted_si_snr(sources, np.stack([mixture, mixture], axis=1))
    np.testing.assert_allclose(
        si_snr_improvement(scores, sources, mixture), np.zeros((4, 2)), atol=1e-4
    )
