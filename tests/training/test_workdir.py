import json

import pytest

from audioslots_jax import UserError
from audioslots_jax.reports.metrics_file import MetricsFile
from audioslots_jax.training.settings import complete
from audioslots_jax.training.workdir import claim, remembered
from audioslots_jax.workdir import DataRecord, read_data

RECORD = DataRecord("abc", 0.05, {"validation": ["ann"], "test": ["bob"]})


def test_metrics_after_the_resumed_step_are_written_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, resumed_at=0)
    for step in (1, 2, 3):
        metrics.write(step, {"train/loss": 0.1 * step})
    metrics.close()
    whole = path.read_text()
    path.write_text(whole + '{"step": 4, "train/lo')  # killed in the middle of a line
    metrics = MetricsFile(path, resumed_at=2)
    assert path.read_text() == "".join(whole.splitlines(keepends=True)[:2])
    metrics.write(3, {"train/loss": 0.1 * 3})
    metrics.close()
    assert path.read_text() == whole
    assert json.loads(whole.splitlines()[2]) == {"step": 3, "train/loss": 0.1 * 3}


def test_a_workdir_belongs_to_one_config(tmp_path, tiny):
    claim(tmp_path, complete(tiny), RECORD)
    tiny.seed = 0
    tiny.train.learning_rate = 0.5
    claim(tmp_path, complete(tiny), RECORD)  # nothing was trained yet that could be mixed up
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    claim(tmp_path, complete(tiny), RECORD)
    tiny.seed = 7
    with pytest.raises(UserError, match=r"differs in seed \(0 -> 7\);"):
        claim(tmp_path, complete(tiny), RECORD)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        claim(tmp_path, complete(tiny), RECORD)


def test_other_recordings_are_refused(tmp_path, tiny):
    claim(tmp_path, complete(tiny), RECORD)
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    with pytest.raises(UserError, match=r"differs in data.fingerprint \(abc -> xyz\);"):
        claim(tmp_path, complete(tiny), RECORD._replace(fingerprint="xyz"))


def test_a_workdir_that_cannot_be_written_is_one_sentence(tmp_path, tiny):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        claim(tmp_path / "file" / "run", complete(tiny), RECORD)


def test_a_run_remembers_who_is_held_out(tmp_path, tiny):
    claim(tmp_path, complete(tiny), RECORD)
    assert read_data(tmp_path) == RECORD
    assert remembered(tmp_path) == DataRecord()  # nothing was trained yet
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    assert remembered(tmp_path) == RECORD
    (tmp_path / "data.json").write_text("[")
    with pytest.raises(UserError, match=r"data\.json cannot be read"):
        remembered(tmp_path)
    (tmp_path / "data.json").unlink()  # a run that is older than this file
    assert remembered(tmp_path) == DataRecord()
