"""Where a page's mixtures come from: what is said of them holds for those that are shown."""

import shutil

import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict

from audioslots_jax import UserError, lens
from audioslots_jax.data import recordings
from audioslots_jax.inference.recordings import load
from audioslots_jax.lens import mixtures
from audioslots_jax.training.page import leave_page
from audioslots_jax.training.settings import complete
from tests.data.files import tone, write
from tests.lens.conftest import RATE


@pytest.fixture(scope="module")
def separator(run):
    return load(run)


def moved_to(separator, root):
    """The section of a config that says that the recordings lie elsewhere."""
    return ConfigDict({**separator.config["data"], "root": str(root)})


@pytest.mark.parametrize("ranks", [["median"], ["worst", "best"], ["worst", "median", "best"]])
def test_titles_are_those_of_the_folders_that_are_there(tmp_path, ranks):
    """Each mixture is as long as its rank's name."""
    for rank in ranks:
        write(tmp_path / "evaluation" / rank / "mixture.wav", np.full(len(rank), 0.1), RATE)
    (tmp_path / "evaluation" / "scores.csv").write_text("mixture_id\n1\n2\n3\n4\n")
    listed = mixtures.evaluated(tmp_path)
    assert listed.titles == [rank.capitalize() for rank in ranks]
    assert [len(whole.mixture) for whole in listed.wholes] == [*map(len, ranks)]
    sentence = mixtures.origin(listed.what, listed.scored, listed.titles)
    assert sentence.startswith("Of 4 whole test mixtures")
    assert [rank in sentence for rank in mixtures.RANKS] == [
        rank in ranks for rank in mixtures.RANKS
    ]


@pytest.mark.parametrize("count", range(6))
def test_ranks_are_spoken_of_where_there_are_some(count):
    titles = [title for title, _ in mixtures.ranked({i: float(i) for i in range(count)})]
    sentence = mixtures.origin("crops", count, titles)
    ranked = f"Of {count} crops, these are the worst, the median and the best."
    assert sentence == (ranked if count > 3 else "These are crops.")


def test_recordings_that_may_have_been_trained_on_are_refused(run, separator, tmp_path):
    """A page would say of them that they were not."""
    other = shutil.copytree(separator.config["data"]["root"], tmp_path / "other")
    assert mixtures.open_held_out(separator, run, moved_to(separator, other)).longer is not None
    write(other / "another" / "0.wav", tone(1.0, RATE))
    with pytest.raises(UserError, match="was trained with other recordings than"):
        mixtures.open_held_out(separator, run, moved_to(separator, other))
    shutil.copytree(run, tmp_path / "old")
    (tmp_path / "old" / "data.json").unlink()
    with pytest.raises(UserError, match="does not remember what it was not trained on"):
        mixtures.open_held_out(separator, tmp_path / "old")


def test_recordings_are_read_once_for_crops_and_longer_mixtures(run, separator, monkeypatch):
    examined, examine = [], recordings._examine
    monkeypatch.setattr(recordings, "_examine", lambda path: examined.append(path) or examine(path))
    held_out = mixtures.open_held_out(separator, run)
    for mixtures_of, samples in ((held_out.crops, separator.crop), (held_out.longer, 6 * RATE)):
        assert mixtures_of.batch(0, 0, range(1), 1).mixture.shape == (1, samples)
    assert len(examined) == len(set(examined)) == 8


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (UserError("the run is damaged; restore it."), "the run is damaged; restore it"),
        (OSError(28, "No space left"), "OSError: [Errno 28] No space left"),
        (soundfile.LibsndfileError(1), "LibsndfileError: "),
        (RuntimeError("RESOURCE_EXHAUSTED: memory\nmore of it"), "RESOURCE_EXHAUSTED: memory"),
    ],
)
def test_a_page_that_fails_is_a_sentence(run, monkeypatch, capsys, failure, reason):
    """The run that it is about was finished."""

    def fail(*_):
        raise failure

    monkeypatch.setattr(lens, "run_page", fail)
    leave_page(run, complete(ConfigDict({})))
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("no page: ")
    assert reason in err
    assert err.endswith(f"; `audioslots lens {run} --output=page.html` makes one\n")
    assert err.count("\n") == 1


def test_a_page_opens_what_the_config_names(run, separator, tmp_path, monkeypatch):
    """And there is none where no examples are asked for."""
    opened = []
    monkeypatch.setattr(lens, "run_page", lambda *given: opened.append(given) or b"page")
    monkeypatch.setattr(lens, "write", lambda *_: None)
    config = complete(ConfigDict({**separator.config, "data": moved_to(separator, tmp_path)}))
    config.eval.examples = 1
    leave_page(run, config)
    assert opened == [(run, config.data)]
    assert config.data.root == str(tmp_path)
    config.eval.examples = 0
    leave_page(run, config)
    assert len(opened) == 1
