"""The command of the table, its files and its networks."""

import csv
import dataclasses
import functools
import math
import re
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import audioslots_jax
from audioslots_jax import UserError
from audioslots_jax import separator as separators
from audioslots_jax.audio import compress_complex
from audioslots_jax.data.batch import Whole
from audioslots_jax.data.libri2mix import Libri2Mix
from audioslots_jax.evaluation.scores import score
from audioslots_jax.inference import RecordingSeparator
from audioslots_jax.models import AudioSlots, Features, Magnitudes, Slots
from experiments.table1 import estimators, run, tables
from tests.data.files import write_librimix
from tests.tiny import get_config


@pytest.fixture(scope="module")
def librimix(tmp_path_factory):
    return write_librimix(tmp_path_factory.mktemp("librimix"), subsets=("test-clean",))


def read(folder):
    with open(folder / "table.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def fewer(monkeypatch):
    """A part of the table: of what every cell needs, half is compiled."""
    monkeypatch.setattr(run, "EDGES", {"A": "chunk_edge"})


def test_the_command(fewer, librimix, tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    assert run.main([f"--librimix={librimix}", "--limit=2", f"--output={folder}"]) == 0
    lines = read(folder)
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
    assert len(oracles) == len(lines) - 2 == 2 * 2 * 2 * 2
    assert len({tuple(line.values())[:6] for line in oracles}) == len(oracles)
    for line in lines:
        assert line["mixtures"] == "2"
        assert float(line["si_snr_stderr"]) > 0
    for line in oracles:
        assert float(line["si_snri"]) > 2
    table = (folder / "table.md").read_text()
    assert capsys.readouterr().out == table + "\n"
    assert re.search(r"^\| Oracle \(1 s\) \| ", table, re.MULTILINE)
    assert "oracle stitching" in table
    assert (folder / "figure2.png").read_bytes()[:4] == b"\x89PNG"


class Mirror(nn.Module):
    """An encoder and a decoder that leave what they see as it is."""

    @nn.compact
    def __call__(self, seen, size=None, features=None):
        if features is not None:
            return Magnitudes(features.grid[:, None, :, :, 0])
        return Features(jnp.abs(seen)[..., None], jnp.arange(0.0, seen.shape[2]), {})


class OneSlot(nn.Module):
    """A slot module of one slot, which nobody looks at."""

    @nn.compact
    def __call__(self, features, queries=None, key=None):
        return Slots(jnp.zeros((len(features.grid), 1, 1)))


@functools.cache
def tiny(slots):
    """A small network at the sizes of the table; its parameters are those of no training."""
    config = get_config()
    config.stft.update(window=512, hop=125)
    config.model.slots = slots
    separator = separators.build(config, 8000)
    params = jax.jit(separator.init, static_argnums=1)(jax.random.key(0), 8000)
    return trained(separator, params)


def trained(separator, params=None, sample_rate=16000, crop_seconds=0.5):
    """What `audioslots_jax.load` gives for a run."""
    data = {"sample_rate": sample_rate, "crop_seconds": crop_seconds}
    return RecordingSeparator(separator, params, {"data": data}, 1, None, 0.05)


@pytest.fixture
def runs(monkeypatch):
    """Trained networks by the name of their run."""
    known = {}
    monkeypatch.setattr(audioslots_jax, "load", lambda run: known[str(run)], raising=False)
    return known


def test_a_perfect_autoencoder_reaches_the_oracle(fewer, runs, monkeypatch, librimix, tmp_path):
    """And the row of a network that sees the mixture is there, with what is heard blindly."""
    monkeypatch.setattr(run, "MODES", {"max10": {"mode": "max", "seconds": 5.0}})
    monkeypatch.setattr(run, "MASKS", ["wiener"])
    monkeypatch.setattr(tables, "MASK_NAMES", {"wiener": "Wiener-like"})
    monkeypatch.setattr(run, "ORACLE", estimators.ORACLE._replace(chunks=(0.5,)))
    mirror = AudioSlots(Mirror(), OneSlot(), Mirror())
    runs["alone"] = trained(dataclasses.replace(tiny(1).separator, model=mirror), {})
    runs["together"] = tiny(2)
    flags = ["--autoencoder=alone", "--model=together", "--limit=1"]
    assert run.main([*flags, f"--librimix={librimix}", f"--output={tmp_path}"]) == 0
    scores = {}
    for line in read(tmp_path):
        scores.setdefault(line["row"], {})[line["stitching"]] = float(line["si_snr"])
        assert math.isnan(float(line["si_snr_stderr"])), "one mixture has no standard error"
    assert list(scores) == ["floor", "oracle", "autoencoder", "audioslots"]
    assert scores["autoencoder"] == pytest.approx(scores["oracle"], abs=0.001)
    assert scores["audioslots"]["oracle"] < scores["oracle"]["oracle"]
    assert scores["audioslots"]["blind"] == pytest.approx(heard(librimix), abs=0.0002)
    table = (tmp_path / "table.md").read_text()
    paper = re.findall(r"^\| (Oracle|Autoencoder|AudioSlots) \|", table, re.MULTILINE)
    assert paper == ["Oracle", "Autoencoder", "AudioSlots"]


def heard(librimix):
    """The SI-SNR of what a user gets of the first mixture, with protocol A."""
    mixture = Libri2Mix(librimix, "test", "max", seconds=5.0)[0]
    separator = estimators.with_protocol(tiny(2).separator, "A", "wiener")
    separated = dataclasses.replace(tiny(2), separator=separator)(mixture.mixture, 16000)
    return score(Whole("x", mixture.mixture, mixture.sources), separated, 8000).si_snr.mean()


@pytest.mark.parametrize(("row", "slots"), [("autoencoder", 1), ("audioslots", 2)])
def test_networks_see_what_they_should(runs, row, slots):
    """Sources one by one for an autoencoder, else their sum; through the protocol's STFT."""
    runs["run"] = tiny(slots)
    estimator = estimators.load(Path("run"), row)
    separator = estimators.with_protocol(estimator.separator, "A", "ibm")
    stft = separator.front_end.stft
    assert (stft.edges, tiny(slots).separator.front_end.stft.edges) == ("chunk_edge", "centred")
    chunks = np.random.default_rng(1).normal(size=(3, 2, 8000)).astype(np.float32)
    magnitudes = jax.jit(estimator.magnitudes, static_argnums=0)(
        separator, estimator.params, chunks
    )
    assert (estimator.row, estimator.chunks, magnitudes.shape) == (row, (0.5,), (3, 2, 256, 64))
    seen = chunks.reshape(6, 8000) if slots == 1 else chunks.sum(axis=1)

    @jax.jit
    def direct(seen):
        outputs = separator.model.apply(estimator.params, compress_complex(stft(seen)), None, None)
        return outputs.decoded.values

    expected = np.asarray(direct(seen)).reshape(magnitudes.shape)
    np.testing.assert_allclose(magnitudes, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sample_rate": 8000, "crop_seconds": 1.0}, "trained at 8000 Hz"),
        ({"crop_seconds": 0.75}, "chunks of 0.75 s"),
        ({"hop": 128}, "window 512 and hop 128"),
        ({"slots": 1}, "1 slots"),
    ],
)
def test_runs_that_do_not_fit_are_refused(runs, change, sentence):
    separator = tiny(change.pop("slots", 2)).separator
    stft = dataclasses.replace(separator.front_end.stft, hop=change.pop("hop", 125))
    front_end = dataclasses.replace(separator.front_end, stft=stft)
    runs["run"] = trained(dataclasses.replace(separator, front_end=front_end), **change)
    with pytest.raises(UserError, match=sentence):
        estimators.load(Path("run"), "audioslots")


def test_mistakes_are_sentences(runs, capsys, librimix, tmp_path):
    runs["a"] = runs["b"] = tiny(2)
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
