"""Models that travel."""

import json

import fast_bss_eval.numpy as fast_bss_eval
import numpy as np
import pytest
import soundfile

from audioslots_jax import UserError, cli, load
from audioslots_jax.data.libri2mix import Libri2Mix
from audioslots_jax.inference import packaged
from audioslots_jax.inference.presence import PRESENT
from audioslots_jax.workdir import DataRecord
from tests.runs import make_run
from tests.tiny import get_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir, config = tmp_path_factory.mktemp("run"), get_config()
    config.train.start_from = "/home/somebody/run"
    make_run(workdir, config, record=DataRecord("", 0.05, {}))
    return workdir


@pytest.fixture
def exported(run, tmp_path):
    separator = load(run)
    card = {"step": 7, "score": 1.5, "data": "nothing"}
    packaged.export(separator.params, separator.config, run, tmp_path / "model", card)
    return tmp_path / "model"


def test_an_exported_model_separates_as_its_run(run, exported):
    noise = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    found, expected = (load(folder)(noise, 8000) for folder in (exported, run))
    assert (load(exported).step, load(exported).score) == (7, 1.5)
    assert load(exported).level == 0.05
    error = np.sum((found - expected) ** 2) / np.sum(expected**2)
    assert 0 < error < 1e-4, "half precision, and no more than that"
    sizes = {path.name: path.stat().st_size for path in exported.iterdir()}
    values = sum(np.size(x) for x in packaged.flat(load(run).params).values())
    assert sizes["parameters.npz"] < 2 * values + 300 * len(packaged.flat(load(run).params))
    for folder in (exported, *packaged.WEIGHTS.iterdir()):
        assert "/" not in (folder / "config.json").read_text(), "where something lies on a machine"


def test_damage_is_one_sentence(exported):
    config = json.loads((exported / "config.json").read_text())
    config["model"]["decoder"]["width"] = 9
    (exported / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"parameters.npz cannot be read \(it holds another model"):
        load(exported)
    whole = (exported / "parameters.npz").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for damaged in (b"", b"PK", whole[: len(whole) // 2], bytes(flipped)):
        (exported / "parameters.npz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"parameters.npz cannot be read \("):
            load(exported)


def test_a_damaged_card_is_named(exported):
    for damaged in ("", "[]", '{"step": null, "score": 1}'):
        (exported / "card.json").write_text(damaged)
        with pytest.raises(UserError, match=r"card.json cannot be read \("):
            load(exported)


def test_a_package_without_its_model_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(packaged, "WEIGHTS", tmp_path)
    monkeypatch.setattr(packaged, "COMPACT", tmp_path / "compact")
    with pytest.raises(UserError, match=r"package's model compact is missing.*--workdir"):
        load()


def test_the_package_brings_models_of_at_most_8_mb():
    models = {folder.name: folder for folder in packaged.WEIGHTS.iterdir()}
    assert models.keys() == {"compact", "count"}
    for folder in models.values():
        assert {path.name for path in folder.iterdir()} == {
            "parameters.npz",
            "config.json",
            "data.json",
            "card.json",
        }
        card = json.loads((folder / "card.json").read_text())
        assert {"license", "data", "step", "score"} <= card.keys()
    assert sum(path.stat().st_size for path in packaged.WEIGHTS.rglob("*")) <= 8e6


def test_models_of_the_package_have_names(exported, monkeypatch):
    """But a run of that name, where one stands, comes first; and another folder does not."""
    assert load("count").counts
    assert not load("compact").counts
    assert load("compact").step == load().step
    monkeypatch.chdir(exported.parent)
    (exported.parent / "count").mkdir()
    assert load("count").counts
    exported.rename(exported.parent / "compact")
    assert load("compact").step == 7
    with pytest.raises(UserError, match="is no run"):
        load("../weights/compact")


@pytest.mark.parametrize("flags", [(), ("--speakers=2",)])
def test_it_separates_an_official_mixture_without_a_workdir(flags, speech, tmp_path, monkeypatch):
    """Through the command, as a file at 16 kHz, scored by an independent library."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    whole = Libri2Mix(speech / "librimix", "test", "min", allow_missing=True)[0]
    path = tmp_path / "mixture.wav"
    soundfile.write(path, whole.mixture, 16000)
    assert cli.main(["separate", str(path), f"--output={tmp_path / 'out'}", *flags]) == 0
    slots = [soundfile.read(tmp_path / "out" / f"mixture_{i}.wav") for i in (1, 2)]
    assert {(len(audio), rate) for audio, rate in slots} == {(len(whole.mixture), 16000)}
    estimates = np.stack([audio for audio, _ in slots]).astype(np.float32)
    before = fast_bss_eval.si_sdr(whole.sources, np.stack([whole.mixture] * 2))
    after = fast_bss_eval.si_sdr(whole.sources, estimates)
    assert np.mean(after - before) >= 4


def test_it_finds_out_how_many_speak(speech, tmp_path, monkeypatch):
    """Nobody, noise (which may be taken for one), one and two people, through the command."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    whole = Libri2Mix(speech / "librimix", "test", "min", allow_missing=True)[3]
    noise = np.random.default_rng(0).normal(0, 0.1, whole.mixture.shape)
    recordings = {"silence": 0 * noise, "noise": noise, "one": whole.sources[0]}
    paths = []
    for name, samples in {**recordings, "two": whole.mixture}.items():
        paths.append(str(tmp_path / f"{name}.wav"))
        soundfile.write(paths[-1], samples, 16000)
    assert cli.main(["separate", *paths, f"--output={tmp_path / 'out'}"]) == 0
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made - {"noise_1.wav"} == {"one_1.wav", "two_1.wav", "two_2.wav"}
    alone, _ = soundfile.read(tmp_path / "out" / "one_1.wav", dtype="float32")
    assert fast_bss_eval.si_sdr(whole.sources[:1], alone[None])[0] >= 15


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_tones_and_chords_are_nobody_and_noise_is_one_at_most(rate):
    count, seconds = load("count"), np.arange(4 * rate) / rate
    tones = [[440], [262, 330, 392], [262, 330, 392, 523, 659]]
    heard = [0.1 * np.sum([np.sin(2 * np.pi * f * seconds) for f in each], 0) for each in tones]
    heard.append(np.random.default_rng(0).normal(0, 0.1, len(seconds)))
    found = [np.sum(count.with_presence(x[None], rate)[1] >= PRESENT) for x in heard]
    assert found[:3] == [0, 0, 0]
    assert found[3] <= 1
