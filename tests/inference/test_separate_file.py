"""Files in and out of every format: the whole result, finite, or one sentence and no file."""

import dataclasses
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
import soundfile
from absl import logging

from audioslots_jax import UserError, cli
from audioslots_jax.data.sound_files import SoundFile
from audioslots_jax.inference.files import separate_file
from audioslots_jax.inference.recordings import load
from tests.runs import make_run
from tests.tiny import get_config

RATE = 8000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    make_run(workdir, get_config())
    return workdir


@pytest.fixture(scope="module")
def separator(run):
    return load(run)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No progress bars; and the signals and logs of commands in this process are put back."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    verbosity, handler = logging.get_verbosity(), signal.getsignal(signal.SIGTERM)
    yield
    logging.set_verbosity(verbosity)
    signal.signal(signal.SIGTERM, handler)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "options", "rate", "channels"),
    [
        ("a.wav", {"subtype": "PCM_U8"}, 8000, 1),
        ("b.flac", {"subtype": "PCM_24"}, 192_000, 2),
        ("c.ogg", {}, 44_100, 2),
        ("d.AIFF", {"subtype": "FLOAT"}, 11_025, 3),
        ("e.mp3", {}, 16_000, 1),
        ("with space and ä.w64", {}, 8000, 1),
    ],
)
@pytest.mark.parametrize("mix_down", [True, False])
def test_files_keep_format_rate_and_length(
    separator, tmp_path, name, options, rate, channels, mix_down
):
    path, outputs = tmp_path / name, [tmp_path / "out" / f"{i}{name}" for i in (1, 2)]
    seconds = np.arange(rate + 13)[:, None] / rate
    tones = 0.2 * np.sin(2 * np.pi * 440 * np.arange(1, channels + 1) * seconds)
    soundfile.write(path, tones, rate, **options)
    separate_file(separator, path, outputs, mix_down)
    before = soundfile.info(path)
    for output in outputs:
        after = soundfile.info(output)
        assert (after.format, after.subtype, after.samplerate, after.frames) == (
            before.format, before.subtype, before.samplerate, before.frames,
        )  # fmt: skip
        assert after.channels == (1 if mix_down else channels)
    assert len(list((tmp_path / "out").iterdir())) == 2
    total = sum(soundfile.read(output, always_2d=True)[0] for output in outputs)
    whole = soundfile.read(path, always_2d=True)[0]
    whole = whole.mean(axis=1, keepdims=True) if mix_down else whole
    inner = slice(rate // 10, -rate // 10)
    np.testing.assert_allclose(total[inner], whole[inner], atol=0.02)


def written(path, samples, rate, form, subtype):
    """Whether libsndfile can write such a file."""
    try:
        with soundfile.SoundFile(path, "w", rate, samples.shape[1], subtype, None, form) as file:
            file.write(samples)
        soundfile.info(path)
    except soundfile.LibsndfileError:
        return False
    return True


def forms():
    """All formats and encodings that libsndfile writes and reads here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        return [
            (form, subtype)
            for form in soundfile.available_formats()
            for subtype in soundfile.available_subtypes(form)
            if form != "RAW" and written(path, np.zeros((64, 1)), 8000, form, subtype)
        ]


@hypothesis.settings(
    deadline=None, max_examples=80, derandomize=True, database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)  # fmt: skip
@hypothesis.given(
    form=st.sampled_from(forms()),
    rate=st.sampled_from([1000, 8000, 22_050, 48_000, 192_000]),
    channels=st.integers(1, 3),
    samples=st.integers(1, 3000),
    flips=st.lists(
        st.tuples(st.integers(0, 80) | st.integers(0, 2**16), st.integers(1, 255)), max_size=4
    ),
    cut=st.one_of(st.none(), st.integers(0, 2**14)),
)  # fmt: skip
def test_any_header_and_content_is_separated_or_refused(
    request, tmp_path, form, rate, channels, samples, flips, cut
):
    """Bytes of the file changed anywhere: the whole result, finite, or one sentence and no file."""
    separator = request.getfixturevalue("separator")  # whose parameters Hypothesis would print
    folder = tmp_path / uuid.uuid4().hex
    folder.mkdir()
    path, out = folder / "x", folder / "out"
    hypothesis.assume(
        written(path, noise(samples, channels), rate, *form)
        or written(path, noise(samples, 1), 8000, *form)
    )
    content = bytearray(path.read_bytes())
    for position, change in flips:
        content[position % len(content)] ^= change
    path.write_bytes(content[:cut])
    outputs, refused = [out / "1", out / "2"], ""
    try:
        separate_file(separator, path, outputs, mix_down=True)
    except UserError as error:
        refused = str(error)
    if refused:
        assert "\n" not in refused
        assert not out.exists() or not list(out.iterdir())
        return
    assert sorted(out.iterdir()) == outputs
    # Some encodings fill up blocks, so that a file may be longer than what was written.
    before = soundfile.info(path)
    empty = np.zeros((before.frames, 1), np.float32)
    assert written(folder / "y", empty, before.samplerate, before.format, before.subtype)
    for output in outputs:
        assert np.isfinite(soundfile.read(output)[0]).all()
        assert soundfile.info(output).frames == soundfile.info(folder / "y").frames


@pytest.mark.parametrize("value", [1e7, -3e38, np.inf, np.nan])
def test_flipped_bits_are_one_sentence_that_names_the_second(separator, tmp_path, value):
    samples = noise(3 * RATE, 2)
    samples[20_000, 1] = value
    soundfile.write(tmp_path / "x.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(UserError, match=r"x\.wav: has samples .*, near 2\.50 s"):
        separate_file(separator, tmp_path / "x.wav", [tmp_path / "1", tmp_path / "2"], True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]


def test_a_model_that_is_not_finite_leaves_no_file(separator, tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(RATE), RATE)
    params = jax.tree.map(lambda x: x * np.float32(np.nan), separator.params)
    broken = dataclasses.replace(separator, params=params)
    with pytest.raises(UserError, match=r"x\.wav: near 0\.00 s the model gives"):
        separate_file(broken, tmp_path / "x.wav", [tmp_path / "1", tmp_path / "2"], True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]


@pytest.mark.parametrize("subtype", ["PCM_16", "ULAW", "ALAW"])
def test_estimates_beyond_full_scale_are_clipped(separator, tmp_path, subtype):
    """A mixture at full scale, whose parts are louder here and there."""
    loud = np.tile(np.float32([1, -1, 1, 1, -1]), RATE)[:RATE]
    soundfile.write(tmp_path / "x.wav", loud, RATE, subtype=subtype)
    outputs = [tmp_path / "1.wav", tmp_path / "2.wav"]
    with SoundFile(tmp_path / "x.wav") as file, file.writers(outputs, 1) as writers:
        writers.write(np.float32([[3 * loud], [-3 * loud]]))
    for output, sign in zip(outputs, (1, -1), strict=True):
        back = soundfile.read(output)[0][:RATE]
        np.testing.assert_allclose(back, sign * loud, atol=0.1)


def write_bad(folder):
    """What users give by mistake, and what is wrong with it."""
    good = noise(RATE)
    soundfile.write(folder / "good.wav", good, RATE)
    content = (folder / "good.wav").read_bytes()
    (folder / "text.wav").write_text("no audio")
    (folder / "empty.wav").touch()
    soundfile.write(folder / "no_samples.wav", np.zeros((0, 1)), RATE)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        bad = good.copy()
        bad[5000] = value
        soundfile.write(folder / f"{name}.wav", bad, RATE, subtype="FLOAT")
    flac = folder / "cut.flac"
    soundfile.write(flac, noise(20 * RATE), RATE)
    flac.write_bytes(flac.read_bytes()[:200_000])
    (folder / "folder.wav").mkdir()
    (folder / "header.wav").write_bytes(content[:30])
    (folder / "half.wav").write_bytes(content[: len(content) // 2])
    soundfile.write(folder / "whole.ogg", noise(20 * RATE), RATE)
    ogg = (folder / "whole.ogg").read_bytes()
    (folder / "cut.ogg").write_bytes(ogg[: len(ogg) // 2])
    (folder / "samples.raw").write_bytes(content)
    return {
        "missing.wav": "no such file",
        "text.wav": "not a recording",
        "empty.wav": "not a recording",
        "no_samples.wav": "is empty",
        "nan.wav": "not finite, near 0.62 s",
        "inf.wav": "not finite, near 0.62 s",
        "cut.flac": "(cut off|damaged)",
        "folder.wav": "no such file",
        "header.wav": "(not a recording|is empty|cut off)",
        "half.wav": "cut off: its header promises more",
        "cut.ogg": "cut off: its last page",
        "samples.raw": "not a recording",
    }


def test_bad_input_is_one_sentence_and_the_others_are_done(run, tmp_path):
    bad = write_bad(tmp_path)
    soundfile.write(tmp_path / "one_sample.wav", noise(1), RATE)
    soundfile.write(tmp_path / "silence.flac", np.zeros(RATE), RATE)
    good = ["good.wav", "one_sample.wav", "silence.flac"]
    inputs = [tmp_path / name for name in [*bad, *good]]
    program = [sys.executable, "-m", "audioslots_jax.cli", "separate", *inputs, "--report"]
    program += [f"--workdir={run}", f"--output={tmp_path / 'out'}"]
    result = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300)
    assert "Traceback" not in result.stderr, result.stderr
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(bad)
    for error, (name, problem) in zip(errors, bad.items(), strict=True):
        assert str(tmp_path / name) in error
        assert re.search(problem, error), error
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "good_1.wav", "good_2.wav", "good.wav.html", "one_sample_1.wav", "one_sample_2.wav",
        "one_sample.wav.html", "silence_1.flac", "silence_2.flac", "silence.flac.html",
    }  # fmt: skip


def separate(capsys, *arguments):
    """The command in this process: its exit code, and what it said."""
    code = cli.main(["separate", *map(str, arguments)])
    return code, capsys.readouterr().err


def test_nothing_is_overwritten_and_unwritable_folders_are_told(run, tmp_path, capsys):
    soundfile.write(tmp_path / "x.wav", noise(100), RATE)
    soundfile.write(tmp_path / "x_1.wav", noise(100, seed=1), RATE)
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "x_1.wav", tmp_path / "other" / "x_1.wav")
    before = (tmp_path / "x_1.wav").read_bytes()
    inputs = [tmp_path / "x.wav", tmp_path / "x_1.wav", tmp_path / "other" / "x_1.wav"]
    code, said = separate(capsys, *inputs, f"--workdir={run}", f"--output={tmp_path}")
    assert code == 1
    assert said.count("would overwrite an input or another's files") == 2
    assert (tmp_path / "x_1.wav").read_bytes() == before
    code, said = separate(capsys, inputs[0], f"--workdir={run}", f"--output={inputs[0]}/out")
    assert code == 1
    assert "x_1.wav cannot be written (Not a directory)" in said
    (tmp_path / "half" / "x_2.wav").mkdir(parents=True)
    _, said = separate(capsys, inputs[0], f"--workdir={run}", f"--output={tmp_path / 'half'}")
    assert "x_2.wav cannot be written (Is a directory)" in said
    assert [path.name for path in (tmp_path / "half").iterdir()] == ["x_2.wav"]
    code, said = separate(capsys, inputs[0], f"--workdir={tmp_path}", f"--output={tmp_path}")
    assert code == 2
    assert "is no run of main.py" in said


def test_a_full_disk_is_one_sentence_and_leaves_nothing(run, tmp_path, capsys):
    """A limit on the size of files stands for the disk; above it the system also sends a signal."""
    soundfile.write(tmp_path / "long.wav", noise(60 * RATE), RATE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        code, said = separate(
            capsys, tmp_path / "long.wav", f"--workdir={run}", f"--output={tmp_path / 'out'}"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert code == 1
    assert "cannot be written" in said
    assert not list((tmp_path / "out").iterdir())
