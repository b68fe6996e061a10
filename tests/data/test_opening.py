"""What a config's data fields open."""

import shutil

import numpy as np
import pytest

from audioslots_jax import UserError
from audioslots_jax.data import DynamicMixing, OfficialMixing, open_data, store
from audioslots_jax.training.config import check
from configs import paper


@pytest.fixture
def config(librimix):
    """The paper's, on the handmade folder."""
    config = paper.get_config()
    config.data.update(root=str(librimix), split="train-100")
    return config


def test_the_papers_choice_is_one_field(config, stored):
    official = open_data(config.data)
    assert isinstance(official.train, OfficialMixing)
    config.data.root = str(stored)
    assert open_data(config.data).fingerprint == official.fingerprint
    config.data.mixing = "dynamic"
    dynamic = open_data(config.data)
    assert isinstance(dynamic.train, DynamicMixing)
    assert isinstance(dynamic.held_out, OfficialMixing)
    held_out = [opened.held_out.batch(0, 0, range(4), 4) for opened in (official, dynamic)]
    np.testing.assert_array_equal(*held_out)
    config.data.split, config.data.eval_split = "dev", "train-100"
    assert open_data(config.data).fingerprint != dynamic.fingerprint


def test_dynamic_mixing_needs_a_store(config):
    config.data.mixing = "dynamic"
    with pytest.raises(UserError, match=r"data\.mixing: .*`audioslots prepare .* STORE`"):
        open_data(config.data)


def test_a_store_without_the_split_says_so(config, stored):
    config.data.update(root=str(stored), mixing="dynamic", split="train-360")
    with pytest.raises(UserError, match=r"data\.split: .* has no utterances of train-clean-360"):
        open_data(config.data)


def test_a_store_is_opened_once(config, stored, monkeypatch):
    """On a medium that cannot be written its checksums are computed each time."""
    opened = []
    monkeypatch.setattr(store, "damaged", lambda *args, **_: opened.append(args) or ())
    config.data.root = str(stored)
    for config.data.mixing in ("official", "dynamic"):
        open_data(config.data)
    assert len(opened) == 2


def test_dynamic_mixing_leaves_out_what_is_shorter_than_a_crop(config, stored):
    config.data.update(root=str(stored), mixing="dynamic", crop_seconds=2.45)
    lengths = open_data(config.data).train._utterances.frames
    assert sorted(lengths) == [40_000, 44_000]
    config.data.crop_seconds = 2.6
    with pytest.raises(UserError, match="two speakers or more"):
        open_data(config.data)


def test_missing_utterances_need_the_flag(config, librimix, tmp_path):
    shutil.copytree(librimix, tmp_path / "part")
    (tmp_path / "part/LibriSpeech/train-clean-100/0/7/0-7-0000.flac").unlink()
    config.data.root = str(tmp_path / "part")
    with pytest.raises(UserError, match=r"lacks 1 of .*allow_missing"):
        open_data(config.data)
    config.data.allow_missing = True
    assert len(open_data(config.data).train.batch(0, 1, range(4), 4)) == 4


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("split", "train-clean-360", "must be one of train-100, train-360, dev, test"),
        ("eval_split", "train-360", "must be another split"),
        ("mixing", "random", "must be one of official, dynamic"),
        ("silence", "drop", "must be one of keep, redraw"),
        ("crop_seconds", 11.0, "must be at most 10"),
        ("sample_rate", 8000, "must be 16000"),
    ],
)
def test_impossible_values_are_refused(field, value, sentence):
    config = paper.get_config()
    config.data.root = "somewhere"
    config.data[field] = value
    with pytest.raises(UserError, match=rf"config\.data\.{field} is .*{sentence}"):
        check(config)
