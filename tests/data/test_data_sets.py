"""What a config's section ``data`` may hold."""

import pytest
from ml_collections import ConfigDict

from audioslots_jax import UserError
from audioslots_jax.data import DATA_SETS, DataSet, crop_samples, make


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_data_set_has_defaults_and_the_interface(name):
    data = make(ConfigDict({"kind": name, "crop_seconds": 0.75}))
    assert isinstance(data, DataSet)
    assert crop_samples(data) == 0.75 * data.sample_rate
    # Configs of earlier runs have one more field.
    assert make({"kind": name, "crop_seconds": 0.75, "fingerprint": "ab"}) == data


@pytest.mark.parametrize(
    ("kind", "field", "value", "sentence"),
    [
        ("speech", "kind", "speech", "must be one of voices, speakers, libri2mix"),
        ("voices", "sources", 1, "must be at least 2"),
        ("speakers", "sources", 1, "must be at least 2"),
        ("voices", "sample_rate", 2000, "must be at least 2600"),
        ("voices", "sample_rate", 8000.0, "must be a whole number"),
        ("speakers", "workers", 0, "must be at least 1"),
        ("speakers", "eval_root", 3, "must be text"),
        ("speakers", "crop_seconds", 0.0, "must be above 0"),
        ("libri2mix", "crop_seconds", float("nan"), "must be a finite number"),
        ("libri2mix", "crop_seconds", 11.0, "must be at most 10"),
        ("libri2mix", "sample_rate", 8000, "must be 16000"),
        ("libri2mix", "sources", 3, "must be 2"),
        ("libri2mix", "split", "train-clean-360", "must be one of train-100, train-360, dev, test"),
        ("libri2mix", "eval_split", "train-360", "must be another split than data.split"),
        ("libri2mix", "mixing", "random", "must be one of official, dynamic"),
        ("libri2mix", "silence", "drop", "must be one of keep, redraw"),
    ],
)
def test_impossible_values_are_refused(kind, field, value, sentence):
    with pytest.raises(UserError, match=rf"^config\.data\.{field} is .*{sentence}"):
        make({"kind": kind, field: value})


@pytest.mark.parametrize("kind", ["speakers", "libri2mix"])
def test_recordings_are_needed_only_where_they_are_read(kind):
    data = make({"kind": kind})
    for use in (data.open, lambda: data.open_test({"validation": ["a"], "test": ["b"]}, 1)):
        with pytest.raises(UserError, match=r"config\.data\.root is ''; it must name a folder"):
            use()
