"""What the fields of the data set ``libri2mix`` open."""

import functools
import shutil

import numpy as np
import pytest

from audioslots_jax import UserError
from audioslots_jax.data import DynamicMixing, Libri2Mix, OfficialMixing, store
from audioslots_jax.data.libri2mix_data import Libri2MixData
from tests.data.files import write_librimix

Data = functools.partial(Libri2MixData, split="train-100")


def test_the_papers_choice_is_one_field(librimix, stored):
    official = Data(root=str(librimix)).open()
    assert isinstance(official.train, OfficialMixing)
    assert Data(root=str(stored)).open().fingerprint == official.fingerprint
    dynamic = Data(root=str(stored), mixing="dynamic").open()
    assert isinstance(dynamic.train, DynamicMixing)
    assert isinstance(dynamic.validation, OfficialMixing)
    batches = [data.validation.batch(0, 0, range(4), 4).sources for data in (official, dynamic)]
    np.testing.assert_array_equal(*batches)
    other = Data(root=str(stored), mixing="dynamic", split="dev", eval_split="train-100").open()
    assert other.fingerprint != dynamic.fingerprint
    assert official.held_out == dynamic.held_out == {}


def test_dynamic_mixing_needs_a_store(librimix):
    with pytest.raises(UserError, match=r"data\.mixing: .*`audioslots prepare .* STORE`"):
        Data(root=str(librimix), mixing="dynamic").open()


def test_a_store_without_the_split_says_so(stored):
    with pytest.raises(UserError, match=r"data\.split: .* has no utterances of train-clean-360"):
        Libri2MixData(root=str(stored), mixing="dynamic").open()


@pytest.mark.parametrize("mixing", ["official", "dynamic"])
def test_a_store_is_opened_once(stored, monkeypatch, mixing):
    """On a medium that cannot be written its checksums are computed each time."""
    opened = []
    monkeypatch.setattr(store, "damaged", lambda *args, **_: opened.append(args) or ())
    Data(root=str(stored), mixing=mixing).open()
    assert len(opened) == 1


def test_dynamic_mixing_leaves_out_what_is_shorter_than_a_crop(stored):
    def at(seconds):
        return Data(root=str(stored), mixing="dynamic", crop_seconds=seconds).open()

    assert sorted(at(2.45).train._utterances.frames) == [40_000, 44_000]
    assert at(2.45).fingerprint == at(0.5).fingerprint
    with pytest.raises(UserError, match="two speakers or more"):
        at(2.6)


def test_missing_utterances_need_the_flag(librimix, tmp_path):
    shutil.copytree(librimix, tmp_path / "part")
    (tmp_path / "part/LibriSpeech/train-clean-100/0/7/0-7-0000.flac").unlink()
    with pytest.raises(UserError, match=r"lacks 1 of .*allow_missing"):
        Data(root=str(tmp_path / "part")).open()
    train = Data(root=str(tmp_path / "part"), allow_missing=True).open().train
    assert len(train.batch(0, 1, range(4), 4).mixture) == 4


def test_the_test_is_whole_official_mixtures_and_needs_no_other_split(tmp_path):
    root = write_librimix(tmp_path, ["test-clean"])
    wholes = Libri2MixData(root=str(root)).open_test({}, 3)
    official = Libri2Mix(root, "test", "max", seconds=10.0)
    assert [whole.name for whole in wholes] == [row.mixture_id for row in official.rows]
    for whole, mixture in zip(wholes, official, strict=True):
        assert whole.mixture.shape == (160_000,)
        np.testing.assert_array_equal(whole.mixture, mixture.mixture)
        np.testing.assert_array_equal(whole.sources, mixture.sources)


@pytest.mark.parametrize("field", ["split", "eval_split"])
def test_what_was_trained_on_or_chose_a_checkpoint_is_no_test(librimix, field):
    data = Libri2MixData(root=str(librimix), **{field: "test"})
    with pytest.raises(UserError, match=r"data\.test_split is 'test'; it must be another split"):
        data.open_test({}, 1)
