"""Where a model fails, by the sexes of who is heard."""

import numpy as np
import pytest

from audioslots_jax import lens
from audioslots_jax.data import data_sets
from audioslots_jax.lens import mixtures, sections
from audioslots_jax.lens.held_out import Crops
from audioslots_jax.workdir import DataRecord
from tests.data.files import write_librimix, write_speakers
from tests.runs import make_run
from tests.tiny import get_config

SEXES = {"a": "F", "b": "F", "c": "M", "d": "M"}
TITLE = "by sexes of the speakers"


def made(names, scores, present=None):
    """Crops of these speakers with these scores."""
    count, sources = len(scores), len(names[0])
    present = np.ones((count, sources), bool) if present is None else present
    nothing = np.full((count, sources), np.nan)
    levels = np.full(count, np.nan)
    return Crops(np.array(scores), levels, nothing, present, nothing[..., None], names, None)


def tables(section):
    return [table for table in section.tables if TITLE in table.caption] if section else []


def test_scores_by_sexes_are_those_of_the_mixtures_in_either_order():
    random = np.random.default_rng(0)
    names = [tuple(random.choice([*"abcd"], 2, replace=False)) for _ in range(60)]
    scores = random.normal(8, 2, 60)
    section = sections.failures(made(names, scores), SEXES)
    (table,) = tables(section)
    assert [row[0] for row in table.rows] == ["F+F", "F+M", "M+M"]
    males = np.array([sum(SEXES[name] == "M" for name in pair) for pair in names])
    for count, (_, mean, error, number) in enumerate(table.rows):
        own = scores[males == count]
        assert int(number) == len(own)
        assert float(mean) == pytest.approx(own.mean(), abs=0.005)
        assert float(error) == pytest.approx(own.std(ddof=1) / len(own) ** 0.5, abs=0.005)
    assert sum(TITLE in figure.caption for figure in section.figures) == 1


def test_who_is_not_known_is_left_out_and_counted():
    """Voices that are not there, lone ones and scores that do not exist do not count at all."""
    names = [*[("a", "c", "x")] * 7, *[("x", "a", "c")] * 2]
    present = np.array([[True, True, False]] * 7 + [[True, True, False]] * 2)
    present[0, 1] = False
    (table,) = tables(sections.failures(made(names, [1.0] * 8 + [np.nan], present), SEXES))
    assert [row[0] for row in table.rows] == ["F+M"]
    assert table.rows[0][-1] == "6"
    assert table.caption.endswith("; left out: 1 of 7, where a sex is not known")


@pytest.mark.parametrize("sexes", [{}, {"x": "F"}, {"a": "F"}])
def test_where_no_pair_is_known_there_is_nothing(sexes):
    names = [("a", "b"), ("c", "d")] * 8
    crops = made(names, [1.0] * 16)._replace(levels=np.arange(16.0))
    section = sections.failures(crops, sexes)
    assert not tables(section)
    assert len(section.figures) == 1  # that of the levels
    assert "SPEAKERS" not in section.text[0]
    assert not tables(sections.failures(crops._replace(names=[()] * 16), SEXES))


def test_a_page_has_them_where_librispeech_says_them(tmp_path, monkeypatch):
    """And says why it has not where its list cannot be read."""
    monkeypatch.setattr(mixtures, "CANDIDATES", 1)  # to hear, which are most of the time
    root, config = write_librimix(tmp_path / "root"), get_config()
    config.data = {"kind": "libri2mix", "root": str(root), "split": "train-100"}
    config.data.update(sample_rate=16000, crop_seconds=0.12)
    fingerprint = data_sets.make(config.data).open().fingerprint
    make_run(tmp_path / "run", config, record=DataRecord(fingerprint, 0.05, {}))
    path = write_speakers(root / "LibriSpeech", range(100, 104))
    page = lens.run_page(tmp_path / "run").decode()
    assert f"Scores of held-out crops {TITLE}, against the truth</caption>" in page
    assert '<th scope="row">F+M</th>' in page
    path.write_text("100 - F\n")
    page = lens.run_page(tmp_path / "run").decode()
    assert TITLE not in page
    assert f"Scores by the sexes of speakers are missing here ({path}, line 1: " in page
    assert "Where it fails" in page
