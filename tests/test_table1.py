"""The command of the ladder, its tables and its networks."""

import csv
import functools
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import audioslots_jax
from audioslots_jax import UserError
from audioslots_jax.audio import STFT, compress
from audioslots_jax.training.step import Task, make_task
from experiments.table1 import estimators, run
from tests.data.files import write_librimix
from tests.tiny import get_config

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def librimix(tmp_path_factory):
    return write_librimix(tmp_path_factory.mktemp("librimix"), subsets=("test-clean",))


def read(folder):
    with open(folder / "table.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_command(librimix, tmp_path):
    script = ROOT / "experiments" / "table1" / "run.py"
    flags = [f"--librimix={librimix}", "--limit=2", f"--output={tmp_path / 'new' / 'folder'}"]
    command = [sys.executable, script, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    lines = read(tmp_path / "new" / "folder")
    assert list(lines[0]) == [
        "row", "chunk_seconds", "protocol", "mixture_mode", "mask", "stitching", "si_snr",
        "si_snr_stderr", "si_snri", "mixtures",
    ]  # fmt: skip
    floors = [line for line in lines if line["row"] == "floor"]
    assert [line["mixture_mode"] for line in floors] == ["min", "max10"]
    for line in floors:
        assert {line[name] for name in ("chunk_seconds", "protocol", "mask", "stitching")} == {"-"}
        assert abs(float(line["si_snri"])) == 0
    oracles = [line for line in lines if line["row"] == "oracle"]
    assert len(oracles) == len(lines) - 2 == 2 * 2 * 2 * 2 * 2
    assert len({tuple(line.values())[:6] for line in oracles}) == len(oracles)
    for line in lines:
        assert line["mixtures"] == "2"
        assert float(line["si_snr_stderr"]) > 0
    for line in oracles:
        assert float(line["si_snri"]) > 2
    table = (tmp_path / "new" / "folder" / "table.md").read_text()
    assert done.stdout == table + "\n"
    assert re.search(r"^\| Oracle \(1 s\) \| ", table, re.MULTILINE)
    assert "oracle stitching" in table
    assert (tmp_path / "new" / "folder" / "figure2.png").read_bytes()[:4] == b"\x89PNG"


class Perfect(Task):
    """Knows the sources."""

    def apply(self, params, spectrograms):
        return SimpleNamespace(spectrograms=params * compress(spectrograms, self.power))


def tiny_task(slots):
    config = get_config()
    config.stft.update(window=512, hop=125)
    config.model.slots = slots
    return make_task(config)


@functools.cache
def tiny_params(slots):
    task, key = tiny_task(slots), jax.random.key(0)
    shapes = jax.eval_shape(task.model.init, key, jnp.zeros((1, *task.size(8000))))
    return jax.tree.map(lambda leaf: 0.3 * jax.random.normal(key, leaf.shape), shapes)


def separator(task, params=None, **change):
    """What `audioslots_jax.load` gives for a run."""
    made = {"task": task, "params": params, "sample_rate": 16000, "chunk": 8000, "config": None}
    return SimpleNamespace(**{**made, **change})


def perfect(slots):
    task = tiny_task(slots)
    knowing = Perfect(task.model, task.slots, task.stft, task.power, task.solver)
    return separator(knowing, jnp.ones(()))


@pytest.fixture
def runs(monkeypatch):
    """Separators by the name of their run."""
    known = {}
    monkeypatch.setattr(audioslots_jax, "load", lambda run: known[str(run)], raising=False)
    return known


def test_perfect_networks_reach_the_oracle(runs, monkeypatch, librimix, tmp_path):
    monkeypatch.setattr(run, "MODES", {"max10": {"mode": "max", "seconds": 5.0}})
    monkeypatch.setattr(run, "CHUNKS", {0.5: 8000})
    monkeypatch.setattr(run, "PROTOCOLS", {"A": estimators.PROTOCOLS["A"]})
    monkeypatch.setattr(run, "ORACLE", estimators.ORACLE._replace(chunks=(0.5,)))
    runs["alone"] = perfect(1)
    runs["together"] = perfect(2)
    flags = ["--autoencoder=alone", "--model=together", "--limit=1"]
    assert run.main([*flags, f"--librimix={librimix}", f"--output={tmp_path}"]) == 0
    scores = {}
    for line in read(tmp_path):
        kind = line["mask"], line["stitching"]
        scores.setdefault(line["row"], {})[kind] = float(line["si_snr"])
        assert math.isnan(float(line["si_snr_stderr"])), "one mixture has no standard error"
    assert list(scores) == ["floor", "oracle", "autoencoder", "audioslots"]
    for row in ("autoencoder", "audioslots"):
        assert scores[row] == pytest.approx(scores["oracle"], abs=0.001)
    table = (tmp_path / "table.md").read_text()
    paper = re.findall(r"^\| (Oracle|Autoencoder|AudioSlots) \|", table, re.MULTILINE)
    assert paper == ["Oracle", "Autoencoder", "AudioSlots"]


@pytest.mark.parametrize(("row", "slots"), [("autoencoder", 1), ("audioslots", 2)])
def test_networks_see_what_they_should(runs, row, slots):
    """Sources one by one for an autoencoder, else their sum; through the protocol's STFT."""
    runs["run"] = found = separator(tiny_task(slots), tiny_params(slots))
    stft = estimators.PROTOCOLS["A"]
    assert stft != found.task.stft
    estimator = estimators.load(Path("run"), row)
    pieces = jax.random.normal(jax.random.key(1), (3, 2, 8000))
    magnitudes = jax.jit(estimator.magnitudes, static_argnums=2)(found.params, pieces, stft)
    assert (estimator.row, estimator.chunks, magnitudes.shape) == (row, (0.5,), (3, 2, 256, 64))
    seen = pieces.reshape(6, 8000) if slots == 1 else jnp.sum(pieces, axis=1)
    outputs = jax.jit(found.task.model.apply)(found.params, compress(stft(seen))).spectrograms
    expected = np.maximum(np.asarray(outputs).reshape(3, 2, 256, 64), 0)
    np.testing.assert_allclose(magnitudes**0.3, expected, atol=1e-2 * expected.max())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sample_rate": 8000}, "trained at 8000 Hz"),
        ({"chunk": 12000}, "chunks of 0.75 s"),
        ({"task": SimpleNamespace(stft=STFT(512, 128))}, "window 512 and hop 128"),
        ({"task": tiny_task(1)}, "1 slots"),
    ],
)
def test_runs_that_do_not_fit_are_refused(runs, change, sentence):
    runs["run"] = separator(**{"task": tiny_task(2), **change})
    with pytest.raises(UserError, match=sentence):
        estimators.load(Path("run"), "audioslots")


def test_mistakes_are_sentences(runs, capsys, librimix, tmp_path):
    runs["a"] = runs["b"] = separator(tiny_task(2))
    (tmp_path / "file").write_text("")
    root = f"--librimix={librimix}"
    for flags, sentence in (
        ([root, "--rows=autoencoder"], "needs a trained network: --autoencoder RUN"),
        ([root, "--model=a", "--model=b"], "second run with chunks of 0.5 s"),
        ([f"--librimix={tmp_path}"], "metadata"),
        ([root, f"--output={tmp_path / 'file'}"], "choose another --output"),
    ):
        assert run.main([f"--output={tmp_path}", *flags]) == 2
        errors = capsys.readouterr().err
        assert errors.startswith("error: ")
        assert sentence in errors
        assert errors.count("\n") == 1


@pytest.mark.parametrize("flags", ["--rows=floor,oracel", "--limit=0", "--split=eval"])
def test_unknown_values_are_refused(flags, capsys):
    with pytest.raises(SystemExit, match="2"):
        run.main(["--librimix=.", "--output=.", flags])
    assert flags.split("=")[0] in capsys.readouterr().err


def test_a_silent_source_has_no_score():
    sources = np.zeros((2, 100), np.float32)
    sources[0] = 1
    with pytest.raises(UserError, match="mixture x: a source is silent"):
        run.checked(SimpleNamespace(mixture_id="x", sources=sources))
