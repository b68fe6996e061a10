"""The level of mixtures."""

import numpy as np
import pytest

from audioslots_jax.data.batch import HELD_OUT_SEED, RowByRow
from audioslots_jax.data.level import decibels, energy_weighted_rms, mixture_level, rms


class Noise(RowByRow):
    """White noise at a level of its own for each mixture."""

    def __init__(self, levels):
        self.levels = levels

    def example(self, seed, step, row):
        assert (seed, row) == (HELD_OUT_SEED, 0)
        noise = np.random.default_rng(step).normal(0, 1, (2, 4000))
        return (self.levels[step] * noise / rms(noise.sum(axis=0))).astype(np.float32)


def test_it_is_the_level_of_mixtures_that_are_alike_and_follows_the_gain():
    assert mixture_level(Noise([0.1] * 5), 5) == pytest.approx(0.1, rel=1e-6)
    loud, quiet = mixture_level(Noise([0.2, 0.4]), 2), mixture_level(Noise([0.02, 0.04]), 2)
    assert loud == pytest.approx(10 * quiet, rel=1e-6)
    assert quiet == pytest.approx(np.sqrt((0.02**4 + 0.04**4) / (0.02**2 + 0.04**2)), rel=1e-6)


def test_silence_counts_nothing():
    assert mixture_level(Noise([0.1, 0, 0.1, 0, 0]), 5) == pytest.approx(0.1, rel=1e-6)
    assert mixture_level(Noise([0.0, 0.0]), 2) == 0.0
    assert energy_weighted_rms(np.array([], np.float32)) == 0.0
    assert energy_weighted_rms(np.float32([3e38, 0])) == pytest.approx(3e38**0.5)


def test_six_decibels_are_about_twice_the_amplitude():
    assert decibels(20.0) == 10
    assert decibels(-6.0206) == pytest.approx(0.5, rel=1e-5)
