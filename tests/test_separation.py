"""Separating recordings: lengths, rates, channels, streams, and files in and out."""

import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

import audioslots_jax
from audioslots_jax import UserError
from audioslots_jax.audio import MASKS, apply_masks, blind_order, expand, join, reorder, split
from audioslots_jax.audio.chunks import blind_hop
from audioslots_jax.separation import load, separate_file
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
    return audioslots_jax.load(run)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 239, 960, 961, 7680, 7681, 31_000])
def test_slots_add_up_to_the_recording_of_any_length(separator, samples):
    """Wiener-like masks share the mixture out, and nothing is lost at the joints or ends."""
    recording = noise(samples)
    slots = separator(recording, RATE)
    assert slots.shape == (2, samples)
    np.testing.assert_allclose(slots.sum(axis=0), recording, atol=2e-6)


def test_it_is_the_chunks_in_blind_order_joined(separator):
    """Against the whole recording at once, with the functions of `audio`."""
    recording = jnp.asarray(noise(20_000))
    hop = blind_hop(separator.chunk)
    task = separator.task
    mixtures = split(recording, separator.chunk, hop)
    spectrograms = task.stft(mixtures)
    outputs = jax.jit(task.apply)(separator.params, spectrograms[:, None])
    masks = MASKS["wiener"](expand(outputs.spectrograms, task.power))
    estimates = task.stft.inverse(apply_masks(masks, spectrograms), separator.chunk)
    order = jax.jit(blind_order, static_argnums=(1, 3))(estimates, hop, outputs.slots, task.stft)
    expected = join(reorder(estimates, order), hop, len(recording))
    np.testing.assert_allclose(separator(np.asarray(recording), RATE), expected, atol=1e-5)


@pytest.mark.parametrize("sizes", [[1] * 50 + [9000], [5000, 1, 12_345], [40_000]])
def test_blocks_of_any_size_give_the_same(separator, sizes):
    recording = noise(2, sum(sizes))
    ends = np.cumsum(sizes)
    blocks = (recording[:, end - size : end] for size, end in zip(sizes, ends, strict=True))
    streamed = np.concatenate(list(separator(blocks, RATE)), axis=-1)
    np.testing.assert_allclose(streamed, separator(recording, RATE), atol=1e-6)


@pytest.mark.parametrize("rate", [4000, 11_025, 44_100, 192_000])
def test_other_rates_come_back_at_their_own(separator, rate):
    """A tone the model can hear, in recordings whose lengths are no multiples of anything."""
    for samples in (1, 1009, 3 * rate + 7):
        tone = 0.2 * np.sin(2 * np.pi * 500 * np.arange(samples) / rate).astype(np.float32)
        slots = separator(tone, rate)
        assert slots.shape == (2, samples)
        if samples > rate:
            inner = slice(rate // 10, -rate // 10)
            np.testing.assert_allclose(slots.sum(axis=0)[inner], tone[inner], atol=2e-3)


def test_channels_are_separated_alike(separator):
    """The same sound, softer in the second channel, and silence in the third."""
    recording = noise(20_000)
    slots = separator(np.stack([recording, recording, 0 * recording]), RATE)
    assert slots.shape == (2, 3, 20_000)
    np.testing.assert_allclose(slots[:, 0], slots[:, 1], atol=1e-6)
    assert not slots[:, 2].any()


def test_wrong_arguments_are_told(separator, tmp_path):
    with pytest.raises(ValueError, match="need a sample_rate"):
        separator(noise(100))
    for wrong in (np.zeros(0), np.zeros((2, 3, 4))):
        with pytest.raises(ValueError, match=r"\(sample,\) or \(channel, sample\), not"):
            separator(wrong, RATE)
    with pytest.raises(ValueError, match="up to 64 channels"):
        separator(np.zeros((3000, 2)), RATE)
    with pytest.raises(UserError, match="not finite"):
        separator(np.array([0.0, np.nan]), RATE)
    with pytest.raises(UserError, match="not finite"):
        list(separator([np.zeros((1, 50_000)), np.full((1, 9), np.inf)], 44_100))
    for wrong in ([np.zeros(10)], [np.zeros((1, 10)), np.zeros((2, 10))]):
        with pytest.raises(ValueError, match=r"blocks are \(channel, sample\), of the same"):
            list(separator(wrong, 44_100))
    with pytest.raises(UserError, match="there is no such file"):
        separator(tmp_path / "nothing.wav")


def test_the_best_checkpoint_is_loaded(tmp_path):
    state = make_run(tmp_path / "run", get_config(), scores=(3.0, 7.0, 5.0, None))
    separator = load(tmp_path / "run")
    assert (separator.step, separator.score) == (2, 7.0)
    for found, first in zip(*map(jax.tree.leaves, (separator.params, state.params)), strict=True):
        np.testing.assert_array_equal(found, 2 * first)
    assert (separator.sample_rate, separator.chunk) == (8000, 960)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (shutil.rmtree, "is no run of main.py: its config.json cannot be read"),
        (lambda run: (run / "config.json").write_text("{"), "is no run of main.py"),
        (lambda run: (run / "config.json").write_text("[]"), "is no run of main.py"),
        (lambda run: shutil.rmtree(run / "checkpoints"), "has no checkpoint yet; train it first"),
        (lambda run: shutil.rmtree(run / "checkpoints/1/state"), "checkpoints/1 cannot be read"),
        (lambda run: change(run, "decoder", "width", 16), "checkpoints/1 cannot be read"),
        (lambda run: change(run, "slot_module", "heads", 3), "config.model.slot_module.heads is 3"),
    ],
)
def test_an_incomplete_or_foreign_run_is_one_sentence(run, tmp_path, harm, sentence):
    shutil.copytree(run, tmp_path / "copy")
    harm(tmp_path / "copy")
    with pytest.raises(UserError, match=sentence) as caught:
        load(tmp_path / "copy")
    assert "\n" not in str(caught.value)


def change(run, part, field, value):
    config = json.loads((run / "config.json").read_text())
    config["model"][part][field] = value
    (run / "config.json").write_text(json.dumps(config))


def test_an_autoencoder_cannot_separate(tmp_path):
    config = get_config()
    config.model.slots = 1
    make_run(tmp_path, config)
    with pytest.raises(UserError, match="an autoencoder cannot separate"):
        load(tmp_path)(noise(1000), RATE)


# Files


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
    soundfile.write(path, noise(rate + 13, channels), rate, **options)
    separate_file(separator, path, outputs, mix_down, tmp_path / "out" / "picture.png")
    before = soundfile.info(path)
    for output in outputs:
        after = soundfile.info(output)
        assert (after.format, after.subtype, after.samplerate, after.frames) == (
            before.format, before.subtype, before.samplerate, before.frames,
        )  # fmt: skip
        assert after.channels == (1 if mix_down else channels)
    assert len(list((tmp_path / "out").iterdir())) == 3
    if options:  # the others are lossy
        total = sum(soundfile.read(output, always_2d=True)[0] for output in outputs)
        whole = soundfile.read(path, always_2d=True)[0]
        whole = whole.mean(axis=1, keepdims=True) if mix_down else whole
        if rate == RATE:
            np.testing.assert_allclose(total, whole, atol=0.02)


@hypothesis.settings(
    deadline=None, max_examples=60, derandomize=True, database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)  # fmt: skip
@hypothesis.given(
    form=st.sampled_from(
        [("WAV", "PCM_U8"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("FLAC", "PCM_24"), ("AU", "DOUBLE"),
         ("OGG", "VORBIS"), ("CAF", "PCM_16"), ("W64", "PCM_32")]
    ),
    rate=st.sampled_from([1000, 8000, 22_050, 192_000]),
    channels=st.integers(1, 3),
    samples=st.integers(1, 3000),
    flips=st.lists(st.tuples(st.integers(0, 2**16), st.integers(1, 255)), max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 2**14)),
)  # fmt: skip
def test_any_header_and_content_is_separated_or_refused(
    separator, tmp_path, form, rate, channels, samples, flips, cut
):
    """Bytes of the file changed anywhere: the whole result, or one sentence and no file."""
    path, out = tmp_path / "x", tmp_path / "out"
    soundfile.write(path, noise(samples, channels), rate, format=form[0], subtype=form[1])
    content = bytearray(path.read_bytes())
    for place, change in flips:
        content[place % len(content)] ^= change
    path.write_bytes(content[:cut])
    outputs = [out / "1", out / "2"]
    refused = ""
    try:
        separate_file(separator, path, outputs, mix_down=True)
    except UserError as error:
        refused = str(error)
    if refused:
        assert "\n" not in refused
        assert not out.exists() or not list(out.iterdir())
    else:
        frames = soundfile.info(path).frames
        assert {soundfile.info(output).frames for output in outputs} == {frames}
        shutil.rmtree(out)


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
        "nan.wav": "not finite, near 0.00 s",
        "inf.wav": "not finite, near 0.00 s",
        "cut.flac": "(cut off|damaged)",
        "folder.wav": "no such file",
        "header.wav": "(not a recording|is empty|cut off)",
        "half.wav": "cut off: its header promises more",
        "cut.ogg": "cut off: its last page",
        "samples.raw": "not a recording",
    }


def command(*arguments):
    program = [sys.executable, "-m", "audioslots_jax.cli", "separate", *map(str, arguments)]
    result = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300)
    assert "Traceback" not in result.stderr, result.stderr
    return result


def test_bad_input_is_one_sentence_and_the_others_are_done(run, tmp_path):
    bad = write_bad(tmp_path)
    soundfile.write(tmp_path / "one_sample.wav", noise(1), RATE)
    soundfile.write(tmp_path / "silence.flac", np.zeros(RATE), RATE)
    good = ["good.wav", "one_sample.wav", "silence.flac"]
    inputs = [tmp_path / name for name in [*bad, *good]]
    result = command(*inputs, f"--workdir={run}", f"--output={tmp_path / 'out'}", "--report")
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(bad)
    for error, (name, problem) in zip(errors, bad.items(), strict=True):
        assert str(tmp_path / name) in error
        assert re.search(problem, error), error
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "good_1.wav", "good_2.wav", "good.wav.png", "one_sample_1.wav", "one_sample_2.wav",
        "one_sample.wav.png", "silence_1.flac", "silence_2.flac", "silence.flac.png",
    }  # fmt: skip


def test_nothing_is_overwritten_and_unwritable_folders_are_told(run, tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(100), RATE)
    soundfile.write(tmp_path / "x_1.wav", noise(100, seed=1), RATE)
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "x_1.wav", tmp_path / "other" / "x_1.wav")
    before = (tmp_path / "x_1.wav").read_bytes()
    inputs = [tmp_path / "x.wav", tmp_path / "x_1.wav", tmp_path / "other" / "x_1.wav"]
    result = command(*inputs, f"--workdir={run}", f"--output={tmp_path}")
    assert result.returncode == 1
    assert result.stderr.count("would overwrite an input or another's files") == 2
    assert (tmp_path / "x_1.wav").read_bytes() == before
    result = command(inputs[0], f"--workdir={run}", f"--output={inputs[0]}/out")
    assert result.returncode == 1
    assert "x_1.wav cannot be written (Not a directory)" in result.stderr
    (tmp_path / "half" / "x_2.wav").mkdir(parents=True)
    result = command(inputs[0], f"--workdir={run}", f"--output={tmp_path / 'half'}")
    assert "x_2.wav cannot be written (Is a directory)" in result.stderr
    assert [path.name for path in (tmp_path / "half").iterdir()] == ["x_2.wav"]
    result = command(inputs[0], f"--workdir={tmp_path}", f"--output={tmp_path}")
    assert result.returncode == 2
    assert "is no run of main.py" in result.stderr


def test_a_full_disk_is_one_sentence_and_leaves_nothing(run, tmp_path):
    """A limit on the size of files stands for the disk."""
    soundfile.write(tmp_path / "long.wav", noise(60 * RATE), RATE)

    program = [sys.executable, "-m", "audioslots_jax.cli", "separate", tmp_path / "long.wav"]
    program += [f"--workdir={run}", f"--output={tmp_path / 'out'}"]
    limited = "trap '' XFSZ; ulimit -f 100; exec \"$@\""
    result = subprocess.run(
        ["bash", "-c", limited, "_", *program], capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert "cannot be written" in result.stderr
    assert not list((tmp_path / "out").iterdir())


def test_memory_does_not_grow_with_the_length(separator):
    """What is resident after 20 times as much audio."""

    def blocks(count):
        for i in range(count):
            yield noise(1, 1 << 16, seed=i)

    def resident():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    for _ in separator(blocks(5), 44_100):
        pass
    before = resident()
    done = sum(block.shape[-1] for block in separator(blocks(100), 44_100))
    assert done == 100 << 16
    assert resident() < before + 30e6
