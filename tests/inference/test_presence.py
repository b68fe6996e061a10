"""How many sources a recording has, in memory and on the command line."""

import dataclasses
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from audioslots_jax import cli
from audioslots_jax.audio import split, streams
from audioslots_jax.inference import recordings
from audioslots_jax.inference.presence import Presences
from tests.runs import make_run
from tests.tiny import get_counting_config

RATE = 8000


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """A model of three slots that says which are used; what it says is arbitrary."""
    workdir = tmp_path_factory.mktemp("run")
    make_run(workdir, get_counting_config())
    separator = recordings.load(workdir)
    params = jax.tree.map(lambda x: x, separator.params)
    logit = params["params"]["presence"]["logit"]
    logit["kernel"] = jax.random.normal(jax.random.key(0), logit["kernel"].shape)
    return dataclasses.replace(separator, params=params)


def biased(separator, bias):
    """The same, whose slots are all said to be used, or none."""
    params = jax.tree.map(lambda x: x, separator.params)
    params["params"]["presence"]["logit"]["bias"] = jnp.array([bias])
    return dataclasses.replace(separator, params=params)


def noise(*shape):
    return np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)


def test_slots_are_said_to_hold_what_the_model_says_of_the_whole(counting):
    """Against the chunks of a short recording at once, in numpy."""
    recording = noise(20_000)
    slots, probabilities = counting.with_presence(recording[None], RATE)
    np.testing.assert_array_equal(slots[:, 0], counting(recording, RATE))
    chunks = split(jnp.asarray(recording), counting.chunk, counting.hop)
    made = jax.jit(counting.separator)(counting.params, chunks)
    said = jax.nn.sigmoid(made.named["presence"])
    stft = counting.separator.front_end.stft
    start = streams.start(3, counting.chunk, made.slots.shape[2], stft)
    follow = jax.jit(streams.follow, static_argnums=(4, 5))
    _, order, _ = follow(start, made.waveforms, made.slots, said, counting.hop, stft)
    expected = np.take_along_axis(np.asarray(said), np.asarray(order), axis=1).mean(axis=0)
    np.testing.assert_allclose(np.sort(probabilities), np.sort(expected), atol=1e-3)
    assert 0.01 < np.ptp(probabilities) < 1


def said(*chunks, stretch=4):
    """The probabilities of a recording of chunks that are all as loud."""
    presences = Presences(2, stretch)
    for part in chunks:
        probabilities = np.array(part, float).reshape(-1, 2, 1)
        presences.add(probabilities, np.ones_like(probabilities))
    return presences.probabilities


def test_a_source_that_is_heard_for_a_while_is_there():
    """And one that flickers is not, however often it does."""
    pauses = [[1, 0]] * 4 + [[0, 0]] * 30
    flickers = [[0, 1], [0, 0], [0, 0], [0, 0]] * 10
    np.testing.assert_allclose(said(pauses), [1, 0])
    np.testing.assert_allclose(said(flickers), [0, 0.25])
    np.testing.assert_allclose(said([[1, 0]] * 2), [1, 0])


@pytest.mark.parametrize("cut", [1, 3, 4, 5])
def test_stretches_reach_over_batches_of_chunks(cut):
    chunks = np.random.default_rng(0).uniform(size=(11, 2))
    parts = [chunks[i : i + cut] for i in range(0, len(chunks), cut)]
    expected = np.max([chunks[i : i + 4].mean(axis=0) for i in range(8)], axis=0)
    np.testing.assert_allclose(said(*parts), expected)


def test_chunks_of_silence_are_left_out():
    presences = Presences(1, 4)
    presences.add(np.ones((9, 1, 1)), np.array([0, 0, 1, 0, 0, 0, 0, 0, 0.0]).reshape(9, 1, 1))
    np.testing.assert_allclose(presences.probabilities, [1])


@pytest.mark.parametrize("silent", [0, 1])
def test_all_channels_are_heard(counting, silent):
    recording = noise(2, 3000)
    recording[silent] = 0
    slots, probabilities = biased(counting, 30.0).with_presence(recording, RATE)
    assert np.square(slots).sum(axis=(1, 2)).min() > 0
    assert probabilities.min() > 0.9


def test_silence_holds_nobody(counting):
    _, probabilities = biased(counting, 30.0).with_presence(np.zeros((1, 3000), np.float32), RATE)
    np.testing.assert_array_equal(probabilities, [0, 0, 0])


def test_the_most_probable_slots_are_chosen_then_the_loudest():
    presences = Presences(4, 1)
    probabilities, energies = np.array([[0.2, 0.9, 0.9, 0.4], [9.0, 1.0, 2.0, 1.0]])
    presences.add(probabilities[None, :, None], energies[None, :, None])
    assert presences.chosen() == [1, 2]
    assert presences.chosen(1) == [2]
    assert presences.chosen(3) == [1, 2, 3]


@pytest.fixture
def separate(counting, tmp_path, monkeypatch, capsys):
    """Runs the command with a model whose slots are used or not; returns line and files."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    handler = signal.getsignal(signal.SIGTERM)

    def separate(bias, *flags, sound=None, folder="", rate=RATE):
        soundfile.write(tmp_path / "a.wav", noise(9000) if sound is None else sound, rate)
        monkeypatch.setattr(recordings, "load", lambda _: biased(counting, bias))
        output = tmp_path / (folder or f"out{bias}{''.join(flags)}")
        code = cli.main(["separate", str(tmp_path / "a.wav"), f"--output={output}", *flags])
        names = sorted(path.name for path in output.iterdir())
        return code, capsys.readouterr().out, names

    yield separate
    signal.signal(signal.SIGTERM, handler)


def test_there_is_a_file_for_every_source(separate):
    code, line, names = separate(30.0)
    assert (code, names) == (0, ["a_1.wav", "a_2.wav", "a_3.wav"])
    assert "3 of 3 slots are used (100 %, 100 %, 100 %)" in line
    code, line, names = separate(-30.0, rate=2 * RATE)
    assert (code, names) == (0, [])
    assert line.endswith(": nobody is heard, so there is no file\n")


def test_files_of_an_earlier_separation_that_found_more_are_named(separate, tmp_path):
    """They may be somebody's own, so they stay."""
    _, line, names = separate(30.0, folder="out")
    assert "before" not in line
    own = tmp_path / "out" / "a_3.wav"
    own.write_text("of somebody")
    _, line, after = separate(30.0, "--speakers=2", folder="out")
    assert after == names
    assert line.endswith(f"; {own} was there before\n")
    assert own.read_text() == "of somebody"


def sounds():
    """What is not a voice: silence, noise, a tone and chords."""
    seconds = np.arange(2 * RATE) / RATE
    chords = [np.sin(2 * np.pi * f * seconds) for f in (262, 330, 392, 523, 659)]
    return {
        "silence": np.zeros(2 * RATE), "noise": noise(2 * RATE), "one": np.array([0.1]),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * seconds), "chords": 0.1 * np.sum(chords, axis=0),
    }  # fmt: skip


@pytest.mark.parametrize("name", sounds())
def test_what_is_no_voice_is_separated_into_as_many_files_as_are_said(separate, name):
    for bias, number in ((30.0, 0 if name == "silence" else 3), (-30.0, 0)):
        code, line, names = separate(bias, sound=sounds()[name], folder=f"{name}{bias}")
        assert (code, len(names)) == (0, number)
        assert ("nobody is heard, so there is no file" in line) == (number == 0)
    code, _, names = separate(-30.0, "--report", sound=sounds()[name], folder=f"{name}.html")
    assert (code, names) == (0, ["a.wav.html"])


@pytest.mark.parametrize("name", sounds())
def test_a_model_of_two_voices_takes_anything_apart(name, tmp_path, monkeypatch):
    """That of the package, which does not count: two files, finite, that add up to the input."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    handler, sound = signal.getsignal(signal.SIGTERM), sounds()[name].astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    output = tmp_path / "out"
    assert (
        cli.main(["separate", str(tmp_path / "a.wav"), "--speakers=2", f"--output={output}"]) == 0
    )
    signal.signal(signal.SIGTERM, handler)
    total = sum(soundfile.read(output / f"a_{i}.wav")[0] for i in (1, 2))
    np.testing.assert_allclose(total, sound, atol=1e-4)


def test_the_number_of_sources_may_be_given(separate):
    code, _, names = separate(-30.0, "--speakers=2")
    assert (code, names) == (0, ["a_1.wav", "a_2.wav"])


def test_more_than_the_slots_is_one_sentence(separate, capsys):
    with pytest.raises(FileNotFoundError):
        separate(9.0, "--speakers=4")
    assert capsys.readouterr().err == "error: --speakers is 4; the model has 3 slots.\n"
