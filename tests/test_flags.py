import os
from pathlib import Path

import pytest

from audioslots_jax import UserError
from audioslots_jax.flags import load_config
from configs import paper

# How ml_collections loads a file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

CONFIGS = Path(__file__).parents[1] / "configs"


def test_overrides_change_what_they_name():
    changed = load_config(
        str(CONFIGS / "paper.py:one_second"),
        [
            "--config.train.steps=7",
            "--config.data.root",
            "DIR",
            "--config.model.encoder.widths=(32,)",
        ],
    )
    expected = paper.get_config("one_second")
    expected.update_from_flattened_dict(
        {"train.steps": 7, "data.root": "DIR", "model.encoder.widths": (32,)}
    )
    assert changed.to_dict() == expected.to_dict()
    assert load_config(str(CONFIGS / "paper.py")).to_dict() == paper.get_config().to_dict()


def test_a_config_may_build_on_its_neighbours_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "base.py").write_text(
        "from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({'seed': 5})\n"
    )
    (tmp_path / "mine" / "more.py").write_text(
        "from mine import base\ndef get_config(): return base.get_config()\n"
    )
    monkeypatch.chdir(tmp_path / "mine")
    assert load_config("more.py").seed == 5
    monkeypatch.chdir("/")
    assert load_config(os.path.relpath(tmp_path / "mine" / "more.py")).seed == 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config.train.stpes=5"], r"^--config.train.stpes=5: .* did you mean 'steps'\?$"),
        (
            ["--config.nothing=1"],
            "^--config.nothing=1: the config has no field 'nothing'; the file",
        ),
        (["--config.train.steps=many"], "config.train.steps=many"),
        (["--nonsense"], "nonsense"),
        (["extra"], "^unexpected argument 'extra'"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        load_config(str(CONFIGS / "voices.py"), arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("nowhere.py", r"^--config: the file does not load: .*nowhere\.py.*No such file"),
        (f"{CONFIGS}/paper.py:longer", "no variation longer; it has one_second"),
        (f"{CONFIGS}/voices.py:longer", "no variation longer; it has mask"),
        ("{folder}/plain.py:longer", "takes 0 positional arguments"),
    ],
)
def test_files_that_do_not_load_are_one_sentence(file, sentence, tmp_path):
    (tmp_path / "plain.py").write_text("def get_config():\n    return {}\n")
    file = file.replace("{folder}", str(tmp_path))
    with pytest.raises(UserError, match=sentence) as error:
        load_config(file)
    assert "\n" not in str(error.value)
