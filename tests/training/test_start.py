"""Trainings that start from a model that was trained before."""

import functools
import re

import jax
import numpy as np
import pytest

import audioslots_jax
from audioslots_jax import UserError
from audioslots_jax.training.loop import train
from audioslots_jax.training.start import start_from
from tests.runs import make_run, new_state
from tests.tiny import get_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose best checkpoint is its second one, with twice the parameters of a new model."""
    workdir = tmp_path_factory.mktemp("run")
    make_run(workdir, get_config(), scores=(1.0, 2.0, 0.0))
    return workdir


def counting():
    config = get_config()
    config.model.presence = True
    return config


def test_parameters_are_those_the_model_separates_with(run, capsys):
    new = new_state(counting(), average=True)
    state = start_from(new, str(run))
    given = audioslots_jax.load(run).params["params"]
    own, before = dict(state.params["params"]), dict(new.params["params"])
    presence = own.pop("presence")
    jax.tree.map(np.testing.assert_array_equal, own, given)
    jax.tree.map(np.testing.assert_array_equal, presence, before["presence"])
    jax.tree.map(np.testing.assert_array_equal, state.average, state.params)
    assert "after step 2" in capsys.readouterr().out


@pytest.mark.parametrize("slots", [1, 3])
def test_slots_of_another_number_share_their_first_queries(run, slots):
    config = counting()
    config.model.slots = slots
    new = new_state(config)
    trees = start_from(new, str(run)).params, new.params, audioslots_jax.load(run).params
    own, before, given = (tree["params"]["slot_module"]["queries"] for tree in trees)
    assert own.shape == before.shape != given.shape
    np.testing.assert_array_equal(own[:2], given[:slots])
    np.testing.assert_array_equal(own[2:], before[2:])


def test_another_size_is_refused_by_name(run):
    config = get_config()
    config.model.slot_module.slot_size = 8
    with pytest.raises(UserError, match=re.escape("slot_module")):
        start_from(new_state(config), str(run))


def test_the_package_s_own_model_has_a_name():
    with pytest.raises(UserError, match=r"train\.start_from: compact is of another size"):
        start_from(new_state(get_config()), "compact")


def test_a_training_begins_there_and_needs_it_no_more(run, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(run)
    config = get_config()
    config.train.update(steps=1, eval_every=1, learning_rate=1e-9, warmup_steps=0)
    config.train.start_from = str(link)
    scores = train(config, tmp_path / "started")
    given, own = (audioslots_jax.load(path).params for path in (run, tmp_path / "started"))
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), own, given)
    link.unlink()
    assert train(config, tmp_path / "started") == scores
