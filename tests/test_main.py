"""`main.py` as a process: what it leaves behind, what it refuses, and what survives kill -9."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import soundfile
from PIL import Image

ROOT = Path(__file__).parents[1]
STEPS = 200
LONG = [f"--config.train.steps={STEPS}", "--config.train.checkpoint_every=7"]
LONG += ["--config.train.eval_every=50", "--config.train.log_every=9"]


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """A compilation cache that starts empty, shared by the processes of the tests."""
    cache = tmp_path_factory.mktemp("cache")
    return {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
        "PYTHONUNBUFFERED": "1",
    }


def command(workdir, *flags, config="tests/tiny.py"):
    return [sys.executable, "main.py", f"--config={config}", f"--workdir={workdir}", *flags]


def run(environment, workdir, *flags, **options):
    return subprocess.run(
        command(workdir, *flags, **options), cwd=ROOT, env=environment, text=True,
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def uninterrupted(environment, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    result = run(environment, workdir, *LONG)
    assert result.returncode == 0, result.stderr
    return workdir, result


def parameters(workdir):
    step = workdir / "checkpoints" / str(STEPS) / "state"
    return jax.tree.leaves(ocp.StandardCheckpointer().restore(step.absolute()))


def test_a_run_leaves_what_it_promises(uninterrupted):
    workdir, result = uninterrupted
    table = result.stdout.splitlines()[-3:]
    assert re.search(r"SI-SNR +SI-SNRi", table[0])
    assert re.match(r"model +-?\d+\.\d\d dB +-?\d+\.\d\d dB", table[1])
    assert re.match(r"oracle masks +\d+\.\d\d dB", table[2])
    assert "loss=" in result.stderr
    assert "SI-SNRi=" in result.stderr
    assert "Traceback" not in result.stderr

    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert all(isinstance(value, int | float) for line in lines for value in line.values())
    trained = [line for line in lines if "train/loss" in line]
    scored = [line for line in lines if "eval/si_snri" in line]
    assert [line["step"] for line in trained] == [*range(9, STEPS, 9), STEPS]
    assert [line["step"] for line in scored] == [50, 100, 150, 200]
    assert trained[-1]["train/loss"] < trained[0]["train/loss"]
    assert scored[-1]["eval/oracle_si_snri"] > 10
    assert f"{scored[-1]['eval/si_snri']:.2f} dB" in table[1]

    assert json.loads((workdir / "config.json").read_text())["train"]["steps"] == STEPS
    assert np.asarray(Image.open(workdir / "separated.png")).ndim == 3
    steps = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert len(steps) in (2, 3)  # the last two and the best
    assert steps[-1] == STEPS

    wavs = {path.name: soundfile.read(path) for path in (workdir / "separated" / "1").iterdir()}
    assert set(wavs) == {
        "mixture.wav", "source_1.wav", "source_2.wav", "estimate_1.wav", "estimate_2.wav",
    }  # fmt: skip
    assert {(len(audio), rate) for audio, rate in wavs.values()} == {(960, 8000)}
    for kind in ("source", "estimate"):
        both = wavs[f"{kind}_1.wav"][0] + wavs[f"{kind}_2.wav"][0]
        np.testing.assert_allclose(both, wavs["mixture.wav"][0], atol=1e-4)


def test_tensorboard_shows_scalars_picture_and_audio(uninterrupted):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(uninterrupted[0]), size_guidance={"tensors": 0})
    events.Reload()
    plugins = events.summary_metadata
    kinds = {tag: plugins[tag].plugin_data.plugin_name for tag in events.Tags()["tensors"]}
    assert kinds["eval/si_snri"] == kinds["train/loss"] == "scalars"
    assert kinds["train/steps_per_second"] == "scalars"
    assert kinds["separated"] == "images"
    assert kinds["1/mixture"] == kinds["1/estimate_2"] == "audio"
    assert [event.step for event in events.Tensors("eval/si_snri")] == [50, 100, 150, 200]


def test_kill_9_at_three_random_moments_changes_no_bit(environment, uninterrupted, tmp_path):
    workdir = tmp_path / "killed"
    moments = random.Random(0)
    before = 0
    for kill in range(3):
        process = subprocess.Popen(
            command(workdir, *LONG), cwd=ROOT, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        # A random step of the part that is left, and a random time within the steps after it.
        goal = moments.randint(before + 8, before + 50)
        deadline = time.monotonic() + 120
        while last_checkpoint(workdir) < goal:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "no progress"
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"kill {kill} came after the end"
        before = last_checkpoint(workdir)
    result = run(environment, workdir, *LONG)
    assert result.returncode == 0, result.stderr
    assert re.search(r"continuing after step \d+", result.stdout)

    expected, expected_result = uninterrupted
    metrics = "metrics.jsonl"
    assert (workdir / metrics).read_bytes() == (expected / metrics).read_bytes()
    assert result.stdout.splitlines()[-3:] == expected_result.stdout.splitlines()[-3:]
    for found, wanted in zip(parameters(workdir), parameters(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)
    for path in (expected / "separated").rglob("*.wav"):
        found = soundfile.read(workdir / path.relative_to(expected), dtype="float32")[0]
        np.testing.assert_array_equal(found, soundfile.read(path, dtype="float32")[0])


def last_checkpoint(workdir):
    folder = workdir / "checkpoints"
    if not folder.exists():
        return 0
    return max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0)


def test_a_finished_run_tells_its_scores_again(environment, uninterrupted):
    workdir, first = uninterrupted
    metrics = (workdir / "metrics.jsonl").read_bytes()
    again = run(environment, workdir, *LONG)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-3:] == first.stdout.splitlines()[-3:]
    assert (workdir / "metrics.jsonl").read_bytes() == metrics


def test_another_config_is_refused(environment, uninterrupted):
    workdir, _ = uninterrupted
    result = run(environment, workdir, *LONG, "--config.train.learning_rate=1.0", "--config.seed=3")
    assert result.returncode == 2
    sentence = result.stderr.strip()
    assert "seed (0 -> 3), train.learning_rate (0.002 -> 1.0)" in sentence
    assert "\n" not in sentence


def test_an_exploding_loss_stops_the_run_and_names_the_step(environment, tmp_path):
    result = run(environment, tmp_path, "--config.train.learning_rate=1e30")
    assert result.returncode == 2
    assert re.search(r"error: training stopped at step \d+, which is not finite", result.stderr)
    assert "Traceback" not in result.stderr
    bad = int(re.search(r"at step (\d+)", result.stderr)[1])
    assert last_checkpoint(tmp_path) < bad


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--config.train.stpes=5"], r"config\.train\.stpes.*did you mean.*steps"),
        (["--config.train.steps=many"], "config.train.steps=many"),
        (["--config.train.steps=0"], "config.train.steps is 0; it must be at least 1"),
        (["--config.nothing=1"], r"config\.nothing=1: the config has no field"),
        (["--config.nothing.at.all=1"], r"config\.nothing\.at\.all=1: the config has no field"),
        (["--config=configs/missing.py"], r"configs/missing\.py.*No such file"),
        (["--config=configs/paper.py:longer"], "no variation longer; it has one_second"),
        (["--config.data.kind=speakers"], "config.data.root"),
        (["--nonsense"], "nonsense"),
        (["extra"], "unexpected argument 'extra'"),
    ],
)
def test_mistakes_are_one_sentence(environment, tmp_path, flags, sentence):
    result = run(environment, tmp_path / "run", *flags)
    assert result.returncode in (1, 2)
    assert re.search(sentence, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_real_speech_trains(environment, speech, tmp_path):
    """A folder with train/ and dev/, on the small model, for a moment."""
    flags = ["--config.data.root=" + str(speech / "speakers"), "--config.train.steps=6"]
    flags += ["--config.model.decoder.width=16", "--config.eval.mixtures=16"]
    flags += ["--config.train.eval_every=3", "--config.train.warmup_steps=1"]
    result = run(environment, tmp_path, *flags, config="configs/speakers.py")
    assert result.returncode == 0, result.stderr
    assert "recordings of 241 speakers" in result.stdout
    assert "recordings of 13 speakers" in result.stdout
    assert "held-out speakers" in result.stdout
