"""`main.py` as a process: what it leaves behind, what it refuses, and what survives kill -9."""

import csv
import json
import random
import re
import shutil
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

from tests.processes import ROOT, command, run

STEPS = 60
TABLE = 6  # lines that a training ends with, before the one that names its page
LONG = [f"--config.train.steps={STEPS}", "--config.train.checkpoint_every=7"]
LONG += ["--config.train.eval_every=20", "--config.train.log_every=9"]
UNSEEN = [*LONG, "--config.eval.examples=0"]  # without pictures, sounds and a page
LONG += ["--config.eval.examples=1"]

# In place of that of a config, to be compiled in seconds; without a page.
SMALL_NETWORK = """
    --config.model.encoder.blocks=(1,1) --config.model.encoder.widths=(32,32)
    --config.model.encoder.strides=(4,2) --config.model.encoder.root_width=32
    --config.model.slot_module.slot_size=32 --config.model.slot_module.layers=1
    --config.model.decoder.width=16 --config.eval.examples=0
""".split()


@pytest.fixture(scope="session")
def uninterrupted(environment, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    result = run(environment, workdir, *LONG)
    assert result.returncode == 0, result.stderr
    return workdir, result


def parameters(workdir):
    step = workdir / "checkpoints" / str(STEPS) / "state"
    return jax.tree.leaves(ocp.StandardCheckpointer().restore(step.absolute()))


def scores(result):
    """The table that a training ends with."""
    return result.stdout.splitlines()[-TABLE - 1 : -1]


def test_a_run_leaves_what_it_promises(uninterrupted):
    workdir, result = uninterrupted
    title, *table, page = result.stdout.splitlines()[-TABLE - 1 :]
    assert title == "held-out voices, 6 x 0.12 s"
    assert page.startswith(f"{workdir}/lens.html ")
    assert (workdir / "lens.html").read_bytes().count(b"<audio ") == 3 * 5
    shown = {name: float(value) for name, value in map(str.split, table)}
    assert list(shown) == ["si_snri", "si_snr", "loss", "oracle_si_snri", "oracle_si_snr"]
    assert "loss=" in result.stderr
    assert "si_snri=" in result.stderr
    assert "Traceback" not in result.stderr

    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert all(isinstance(value, int | float) for line in lines for value in line.values())
    trained = [line for line in lines if "train/loss" in line]
    scored = [line for line in lines if "eval/si_snri" in line]
    assert [line["step"] for line in trained] == [*range(9, STEPS, 9), STEPS]
    assert [line["step"] for line in scored] == [20, 40, 60]
    assert trained[-1]["train/loss"] < trained[0]["train/loss"]
    assert scored[-1]["eval/oracle_si_snri"] > 10
    for name, value in shown.items():
        assert value == pytest.approx(scored[-1][f"eval/{name}"], abs=1e-3)

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


def test_tensorboard_shows_what_a_run_is_and_does(uninterrupted):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata
    from tensorboard.util import tensor_util

    events = EventAccumulator(str(uninterrupted[0]), size_guidance={"tensors": 0})
    events.Reload()
    plugins = events.summary_metadata
    kinds = {tag: plugins[tag].plugin_data.plugin_name for tag in events.Tags()["tensors"]}
    assert kinds["eval/si_snri"] == kinds["train/loss"] == "scalars"
    assert kinds["speed/steps_per_second"] == kinds["speed/input_wait"] == "scalars"
    assert kinds["separated"] == "images"
    assert kinds["mixture_1/mixture"] == kinds["mixture_1/estimate_2"] == "audio"
    assert kinds["slots/norm_1"] == kinds["slots/usage_2"] == "histograms"
    buckets = [
        tensor_util.make_ndarray(events.Tensors(f"slots/usage_{i}")[-1].tensor_proto)
        for i in (1, 2)
    ]
    assert buckets[0][0, 0] + buckets[1][-1, 1] == pytest.approx(
        1, abs=1e-3
    )  # what one slot leaves, the other has
    text = tensor_util.make_ndarray(events.Tensors("config")[0].tensor_proto).item().decode()
    assert f"| train.steps | {STEPS} |" in text
    content = plugins["_hparams_/session_start_info"].plugin_data.content
    compared = metadata.parse_session_start_info_plugin_data(content).hparams
    assert compared["train.steps"].number_value == STEPS
    assert [event.step for event in events.Tensors("eval/si_snri")] == [20, 40, 60]


def test_kill_9_at_random_moments_changes_no_bit(bare, uninterrupted, tmp_path):
    workdir = tmp_path / "killed"
    moments = random.Random(0)
    before = 0
    for kill in range(2):
        process = subprocess.Popen(
            command(workdir, *LONG), cwd=ROOT, env=bare,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        # First before anything is saved; then at a random step of the part that is left, and a
        # random time within the steps after it.
        goal = moments.randint(before + 8, before + 25) if kill else 0
        deadline = time.monotonic() + 120
        while last_checkpoint(workdir) < goal or not (workdir / "config.json").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "no progress"
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05) if kill else moments.uniform(0, 3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"kill {kill} came after the end"
        before = last_checkpoint(workdir)
    cache = Path(bare["JAX_COMPILATION_CACHE_DIR"])
    compiled = set(cache.iterdir())
    result = run(bare, workdir, *LONG)
    assert result.returncode == 0, result.stderr
    assert compiled
    assert set(cache.iterdir()) == compiled, "a second start must compile nothing"
    assert re.search(r"continuing after step \d+", result.stdout)

    expected, expected_result = uninterrupted
    metrics = "metrics.jsonl"
    assert (workdir / metrics).read_bytes() == (expected / metrics).read_bytes()
    assert scores(result) == scores(expected_result)
    for found, wanted in zip(parameters(workdir), parameters(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)
    for path in (expected / "separated").rglob("*.wav"):
        found = soundfile.read(workdir / path.relative_to(expected), dtype="float32")[0]
        np.testing.assert_array_equal(found, soundfile.read(path, dtype="float32")[0])


def test_sigterm_saves_and_the_same_command_continues(bare, uninterrupted, tmp_path):
    process = subprocess.Popen(
        command(tmp_path, *UNSEEN), cwd=ROOT, env=bare,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while last_checkpoint(tmp_path) < 20 and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    stopped = int(re.search(r"stopped by SIGTERM; step (\d+) is saved", stderr)[1])
    assert last_checkpoint(tmp_path) == stopped
    assert "Traceback" not in stderr
    result = run(bare, tmp_path, *UNSEEN)
    assert f"continuing after step {stopped}" in result.stdout
    metrics = "metrics.jsonl"
    assert (tmp_path / metrics).read_bytes() == (uninterrupted[0] / metrics).read_bytes()


def last_checkpoint(workdir):
    folder = workdir / "checkpoints"
    if not folder.exists():
        return 0
    return max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0)


def test_a_finished_run_tells_its_scores_again(bare, uninterrupted):
    workdir, first = uninterrupted
    metrics = (workdir / "metrics.jsonl").read_bytes()
    again = run(bare, workdir, *LONG)
    assert again.returncode == 0, again.stderr
    assert scores(again) == scores(first)
    assert (workdir / "metrics.jsonl").read_bytes() == metrics


def test_evaluating_leaves_scores_of_whole_mixtures(bare, uninterrupted, tmp_path):
    """Against a calculation from the wavs it leaves, which has nothing to do with it."""
    shutil.copytree(uninterrupted[0], tmp_path / "run")
    flags = [*LONG, "--mode=evaluate", "--config.eval.mixtures=3"]
    result = run(bare, tmp_path / "run", *flags)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "run" / "evaluation"
    summary = json.loads((folder / "summary.json").read_text())
    with open(folder / "scores.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["mixture_id"] for row in rows] == ["voices-0", "voices-1", "voices-2"]
    improvements = [[float(row[f"si_snri_{i}"]) for i in (1, 2)] for row in rows]
    assert summary["si_snri"] == pytest.approx(np.mean(improvements), abs=1e-3)
    spread = np.std(np.mean(improvements, axis=1), ddof=1) / np.sqrt(3)
    assert summary["si_snri_stderr"] == pytest.approx(spread, abs=1e-3)
    assert f"SI-SNRi {summary['si_snri']:.2f}" in result.stdout

    def si_snr(target, estimate):
        scaled = np.dot(target, estimate) / np.dot(target, target) * target
        return 10 * np.log10(np.sum(scaled**2) / np.sum((scaled - estimate) ** 2))

    ranked = sorted(improvements, key=np.mean)
    for place, word in enumerate(("worst", "median", "best")):
        sounds = {path.stem: soundfile.read(path)[0] for path in (folder / word).iterdir()}
        assert {len(sound) for sound in sounds.values()} == {80_000}
        found = [
            si_snr(sounds[f"source_{i}"], sounds[f"estimate_{i}"])
            - si_snr(sounds[f"source_{i}"], sounds["mixture"])
            for i in (1, 2)
        ]
        np.testing.assert_allclose(found, ranked[place], atol=0.01)
    refused = run(bare, tmp_path / "run", *flags, "--config.model.decoder.width=9")
    assert refused.returncode == 2
    assert "differs in model.decoder.width (8 -> 9)" in refused.stderr
    refused = run(bare, tmp_path / "run", *flags, "--config.data.sample_rate=16000")
    assert "differs in data.sample_rate (8000 -> 16000)" in refused.stderr
    refused = run(bare, tmp_path / "nothing", *flags)
    assert re.fullmatch(r"error: .*nothing is no run of main.py[^\n]*\n", refused.stderr)


def test_another_config_is_refused(bare, uninterrupted):
    workdir, _ = uninterrupted
    result = run(bare, workdir, *LONG, "--config.train.learning_rate=1.0", "--config.seed=3")
    assert result.returncode == 2
    sentence = result.stderr.strip()
    assert "seed (0 -> 3), train.learning_rate (0.003 -> 1.0)" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--config.train.stpes=5"], r"config\.train\.stpes.*did you mean.*steps"),
        (["--config.train.steps=0"], "config.train.steps is 0; it must be at least 1"),
        (["--config=configs/missing.py"], r"configs/missing\.py.*No such file"),
        (["--config.data.kind=speakers"], "config.data.root"),
        (["extra"], "unexpected argument 'extra'"),
        (["--workdir=gs://bucket/run"], "gs://bucket/run is no folder; mount the bucket"),
    ],
)
def test_mistakes_are_one_sentence(bare, tmp_path, flags, sentence):
    result = run(bare, tmp_path / "run", *flags)
    assert result.returncode == 2
    assert re.search(sentence, result.stderr), result.stderr
    assert re.fullmatch(r"error: [^\n]+\n", result.stderr), result.stderr
    assert not (tmp_path / "run").exists()


def test_a_folder_of_speakers_holds_some_out(bare, tmp_path):
    for speaker in range(6):
        for take, rate in enumerate((8000, 22050)):
            path = tmp_path / "voices" / f"speaker{speaker}" / f"take{take}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            seconds = np.arange(rate) / rate
            soundfile.write(path, 0.2 * np.sin(2000 * (speaker + 1) * seconds), rate)
    (tmp_path / "voices" / "speaker0" / "broken.wav").write_text("not a recording")
    small = ["--config.train.batch_size=4", "--config.train.steps=2", "--config.eval.mixtures=4"]
    small += ["--config.train.warmup_steps=1", "--config.data.crop_seconds=0.25"]
    small += ["--config.model.encoder.width=8", "--config.model.encoder.blocks=2"]
    small += ["--config.model.encoder.embedding_block=1", "--config.model.slot_module.slot_size=8"]
    small += [f"--config.data.root={tmp_path / 'voices'}", "--config.eval.examples=0"]
    result = run(bare, tmp_path / "run", *small, config="configs/compact.py")
    assert result.returncode == 0, result.stderr
    assert "1 of 13 files left out: 1 unreadable (speaker0/broken.wav)" in result.stdout
    assert "6 resampled to 8000 Hz" in result.stdout
    assert re.search(
        r"held out: speakers speaker\d, speaker\d for validation, speaker\d, ", result.stdout
    )
    # More recordings are another data set; the run is not continued on it unawares.
    path.with_name("more.flac").write_bytes(path.read_bytes())
    refused = run(bare, tmp_path / "run", *small, config="configs/compact.py")
    assert refused.returncode == 2
    assert "data.fingerprint" in refused.stderr
    # Held-out speakers must not be trained on.
    small += [f"--config.data.eval_root={tmp_path / 'voices'}"]
    refused = run(bare, tmp_path / "other", *small, config="configs/compact.py")
    assert re.search("error: data.root: .*would be both in", refused.stderr)


# Libri2Mix and protocol A through the whole program, with a smaller network.
SMALL_PAPER = """
    --config.data.split=train-100 --config.data.eval_split=test --config.train.batch_size=4
    --config.train.steps=3 --config.train.warmup_steps=1 --config.eval.mixtures=8
""".split()
SMALL_PAPER += SMALL_NETWORK


@pytest.fixture(scope="session")
def store(environment, speech, tmp_path_factory):
    """The official rows, packed by the command."""
    output = tmp_path_factory.mktemp("prepared") / "store"
    prepare = [sys.executable, "-m", "audioslots_jax.cli", "prepare"]
    result = subprocess.run(
        [*prepare, str(speech / "librimix"), f"--output={output}"], cwd=ROOT, env=environment,
        text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert "176 utterances of 63 speakers, 0.40 h at 16000 Hz" in result.stdout
    return output


def train_paper(environment, root, workdir, *flags):
    flags = [f"--config.data.root={root}", *SMALL_PAPER, *flags]
    result = run(environment, workdir, *flags, config="configs/paper.py")
    assert result.returncode == 0, result.stderr
    return (workdir / "metrics.jsonl").read_text(), result


def test_the_paper_config_trains_alike_on_files_and_store_and_without_tensorflow(
    environment, bare, speech, store, tmp_path
):
    metrics, result = train_paper(environment, speech / "librimix", tmp_path / "files")
    assert 8 < json.loads(metrics.splitlines()[-1])["eval/oracle_si_snri"] < 18
    assert "TensorBoard" not in result.stdout
    without, result = train_paper(bare, store, tmp_path / "store")
    assert without == metrics
    assert "without tensorflow and clu no TensorBoard events" in result.stdout


def test_dynamic_mixing_trains_from_a_store_alone(bare, store, tmp_path):
    dynamic = ["--config.data.mixing=dynamic", "--config.data.silence=redraw"]
    metrics, _ = train_paper(bare, store, tmp_path / "store", *dynamic)
    assert 8 < json.loads(metrics.splitlines()[-1])["eval/oracle_si_snri"] < 18
