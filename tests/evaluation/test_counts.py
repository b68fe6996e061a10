"""Scores of models that count, where the number is right and where it is not."""

import json

import numpy as np
import pytest

from audioslots_jax.data.batch import Whole
from audioslots_jax.evaluation.counts import PENALTY_DB, count, summary
from audioslots_jax.evaluation.whole import evaluate
from audioslots_jax.training.settings import complete
from tests.runs import make_run
from tests.tiny import get_config

RANDOM = np.random.default_rng(0)
SOURCES = RANDOM.normal(size=(3, 800)).astype(np.float32)
NOISY = SOURCES + 0.1 * RANDOM.normal(size=(3, 800)).astype(np.float32)  # 20 dB


def every(number):
    return np.arange(3) < number


def whole(number):
    sources = SOURCES[:number]
    return Whole("x", sources.sum(axis=0), sources)


def test_where_the_number_is_right_it_is_the_mean_of_the_sources():
    found = count(whole(2), NOISY[[1, 2, 0]], np.array([True, False, True]))
    assert found[:2] == (2, 2)
    assert found.penalised == pytest.approx(20, abs=0.5)
    assert found.si_snri == pytest.approx(20, abs=1)  # the mixture has 0 dB


def test_slots_without_a_source_are_to_be_quiet():
    """Whether they are found or not; and in a mixture of none, all of them."""
    quiet = np.array([1, 1, 0.01], np.float32)[:, None]
    expected = 20 * np.log10(0.01) - 10 * np.log10(2)  # as loud as one of two sources, less 40 dB
    for held in (every(2), every(3)):
        assert count(whole(2), quiet * NOISY, held).absent_db == pytest.approx(expected, abs=0.5)
    assert np.isnan(count(whole(3), NOISY, every(3)).absent_db)
    silence = whole(1)._replace(mixture=np.zeros(800, np.float32), sources=SOURCES[:0])
    assert np.isnan(count(silence, NOISY, every(0)).absent_db)
    noise = silence._replace(mixture=10 * SOURCES[0])
    assert count(noise, SOURCES, every(0)).absent_db == pytest.approx(10 * np.log10(0.03), abs=0.5)
    assert count(noise, 0 * SOURCES, every(0)).absent_db == -100


@pytest.mark.parametrize(
    ("sources", "found", "expected"),
    [
        (2, 1, (20 + PENALTY_DB) / 2),
        (1, 3, (20 + 2 * PENALTY_DB) / 3),
        (3, 0, PENALTY_DB),
        (0, 2, PENALTY_DB),
        (1, 1, 20.0),
    ],
)
def test_what_has_no_counterpart_is_penalised(sources, found, expected):
    scores = count(whole(sources), NOISY, every(found))
    assert scores.penalised == pytest.approx(expected, abs=0.5)
    assert np.isnan(scores.si_snri)


def test_nothing_found_in_silence_is_right_and_has_no_score():
    scores = count(whole(0), NOISY, every(0))
    assert np.isnan(scores.penalised)
    found = summary([scores, count(whole(2), NOISY, every(2)), count(whole(2), NOISY, every(1))], 3)
    assert found["count_accuracy"] == pytest.approx(2 / 3)
    assert found["confusion"][0] == [1, 0, 0, 0]
    assert found["confusion"][2] == [0, 1, 1, 0]
    assert found["si_snri_where_right_of_2"] == pytest.approx(20, abs=1)
    assert "penalised_si_snr_of_0" not in found


def test_mixtures_of_any_number_are_evaluated(tmp_path):
    """By ``--mode=evaluate``: rows of those with two sources or more, and counts of all."""
    config = get_config()
    config.data.update(sources=3, absent=0.5)
    config.model.update(slots=3, presence=True)
    config.eval.mixtures = 6
    make_run(tmp_path, config)
    found = evaluate(complete(config), tmp_path)
    confusion = np.array(found["confusion"])
    assert confusion.sum() == 6
    assert found["mixtures"] == confusion[2:].sum()
    assert np.isfinite(found["absent_db_of_2"])
    assert 0 < found["mixtures"] < 6
    lines = (tmp_path / "evaluation" / "scores.csv").read_text().splitlines()
    assert len(lines) == found["mixtures"] + 1
    assert len({line.count(",") for line in lines}) == 1
    assert json.loads((tmp_path / "evaluation" / "summary.json").read_text()) == found
