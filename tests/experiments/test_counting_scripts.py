"""The experiments on how many voices there are, on sizes that take no time."""

import importlib
import json
import re

import jax
import numpy as np
import scipy.special

import audioslots_jax
from tests.data.files import tone, write
from tests.experiments.scripts import load
from tests.runs import make_run
from tests.tiny import get_counting_config


def test_counting(written, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("counting")
    make_run(workdir, get_counting_config())
    flags = (f"--workdir={workdir}", "--mixtures=2", "--first=0", "--seconds=1")
    lines = written(load("counting"), *flags).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| neighbours", "| streams (`separate`)", "| the truth",
    ]  # fmt: skip
    gain = re.search(r"([-\d.]+) ± .* dB \| ([-\d.]+) ±", lines[-1])
    assert float(gain[2]) >= -0.01, "the truth is the ceiling"


def test_counting_speech(written, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("counting")
    make_run(workdir, get_counting_config())
    dev = tmp_path_factory.mktemp("dev")
    for speaker in range(3):
        write(dev / f"speaker{speaker}" / "0.wav", tone(7.0, 8000, 200 + 100 * speaker), 8000)
    script = importlib.import_module("experiments.counting.speech")
    flags = (f"--workdir={workdir}", f"--dev={dev}", "--mixtures=1")
    scores = json.loads(written(script, *flags))["dev"]
    assert np.sum(scores["confusion"], axis=1).tolist() == [0, 1, 1, 1]
    assert 0 <= scores["count_accuracy_of_1_and_2"] <= 1
    assert scores["alone"].startswith("1 voices alone")


def test_short_recordings(written, tmp_path_factory, monkeypatch):
    """A half of a crop, followed by silence or by itself."""
    script, config = load("counting", "short"), get_counting_config()
    config.data.crop_seconds = 2.0
    for name in ("COUNT", "COMPACT"):
        workdir = tmp_path_factory.mktemp(name)
        make_run(workdir, config)
        monkeypatch.setattr(script.packaged, name, workdir)
    dev = tmp_path_factory.mktemp("dev")
    for speaker in range(3):
        write(dev / f"speaker{speaker}" / "0.wav", tone(3.0, 8000, 200 + 100 * speaker), 8000)
    monkeypatch.setattr(script, "SECONDS", (1,))
    lines = written(script, f"--dev={dev}", "--mixtures=2").splitlines()
    silence, again = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:])
    assert (silence[1], again[1]) == ("silence", "again")
    assert len(lines[0].split("|")) - 2 == len(silence) == len(again)
    assert silence[5] != again[5]


def test_calibrating_finds_what_was_done_to_probabilities_that_were_right():
    script = importlib.import_module("experiments.counting.calibrate")
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (6000, 3))
    holds = random.random(logits.shape) < scipy.special.expit(logits)

    def fitted(logits):
        said = scipy.special.expit(logits)
        return script.fit([script.Said(1, *each) for each in zip(said, holds, strict=True)])

    np.testing.assert_allclose(fitted(logits), (1, 0), atol=0.06)
    np.testing.assert_allclose(fitted(2 * logits + 1), (0.5, -0.5), atol=0.06)


def test_calibrated_models_scale_and_shift_their_logits(tmp_path):
    script = importlib.import_module("experiments.counting.calibrate")
    make_run(tmp_path, get_counting_config())
    model = audioslots_jax.load(tmp_path)
    params = jax.tree.map(lambda x: x + 0.1, model.params)  # the last layer starts as zeros
    noise = jax.random.normal(jax.random.key(0), (1, 960))
    before, after = (
        model.separator(each, noise).named["presence"]
        for each in (params, script.calibrated(params, 2.0, -0.5))
    )
    assert np.abs(before).min() > 0.1
    np.testing.assert_allclose(after, 2 * before - 0.5, rtol=1e-5)


def test_long_recordings_repeat_no_part_of_a_voice():
    script = importlib.import_module("experiments.counting.long")
    voices = list(np.random.default_rng(0).normal(size=(3, 800)).astype(np.float32))
    made = list(script.recordings(voices, people=2, turns=False, times=3, rate=100))
    assert [recording.shape for recording in made] == [(2400,)] * 3
    for recording in made:
        parts = recording.reshape(3, 800)
        assert np.abs(np.triu(np.corrcoef(parts), 1)).max() < 0.9


def test_counting_official_speech(speech):
    script = importlib.import_module("experiments.counting.speech")
    wholes = list(script.official_mixtures(speech / "librimix", speech / "libri3mix", 8000))
    assert [len(whole.sources) for whole in wholes] == [1, 2] * 60 + [3] * 20
    for whole in wholes[::20]:
        np.testing.assert_allclose(whole.sources.sum(axis=0), whole.mixture, atol=1e-6)
