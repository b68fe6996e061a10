"""How many sources a recording has, in memory and on the command line."""

import dataclasses
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from audioslots_jax import cli
from audioslots_jax.audio import blind_order, split
from audioslots_jax.inference import recordings
from audioslots_jax.inference.presence import Presences
from tests.runs import make_run
from tests.tiny import get_config

RATE = 8000


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """A model of three slots that says which are used; what it says is arbitrary."""
    workdir = tmp_path_factory.mktemp("run")
    config = get_config()
    config.model.update(slots=3, presence=True)
    make_run(workdir, config)
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


def test_chunks_count_as_much_as_there_is_of_a_slot(counting):
    """Against the chunks of the whole recording at once, in numpy."""
    recording = noise(20_000)
    slots, probabilities = counting.with_presence(recording[None], RATE)
    np.testing.assert_array_equal(slots[:, 0], counting(recording, RATE))
    chunks = split(jnp.asarray(recording), counting.chunk, counting.hop)
    made = counting.separator(counting.params, chunks)
    stft = counting.separator.front_end.stft
    order = np.asarray(blind_order(made.waveforms, counting.hop, made.slots, stft))
    said = 1 / (1 + np.exp(-np.asarray(made.named["presence"], np.float64)))
    energies = np.square(np.asarray(made.waveforms)).sum(axis=2)
    said, energies = (np.take_along_axis(x, order, axis=1) for x in (said, energies))
    expected = (said * energies).sum(axis=0) / energies.sum(axis=0)
    # The first chunk's order is arbitrary.
    np.testing.assert_allclose(np.sort(probabilities), np.sort(expected), atol=1e-3)
    assert 0.01 < np.ptp(probabilities) < 1


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
    presences = Presences(4)
    presences.add(np.array([[0.2, 0.9, 0.9, 0.4]]), np.array([[9.0, 1.0, 2.0, 1.0]]))
    assert presences.chosen() == [1, 2]
    assert presences.chosen(1) == [2]
    assert presences.chosen(3) == [1, 2, 3]


@pytest.fixture
def separate(counting, tmp_path, monkeypatch, capsys):
    """Runs the command with a model whose slots are used or not; returns line and files."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    handler = signal.getsignal(signal.SIGTERM)
    soundfile.write(tmp_path / "a.wav", noise(9000), RATE)

    def separate(bias, *flags):
        monkeypatch.setattr(recordings, "load", lambda _: biased(counting, bias))
        output = tmp_path / f"out{bias}{''.join(flags)}"
        code = cli.main(["separate", str(tmp_path / "a.wav"), f"--output={output}", *flags])
        names = sorted(path.name for path in output.iterdir())
        return code, capsys.readouterr().out, names

    yield separate
    signal.signal(signal.SIGTERM, handler)


def test_there_is_a_file_for_every_source(separate):
    code, line, names = separate(30.0)
    assert (code, names) == (0, ["a_1.wav", "a_2.wav", "a_3.wav"])
    assert "3 of 3 slots are used (100 %, 100 %, 100 %)" in line
    code, line, names = separate(-30.0)
    assert (code, names) == (0, [])
    assert "nobody is heard" in line


def test_the_number_of_sources_may_be_given(separate):
    code, _, names = separate(-30.0, "--speakers=2")
    assert (code, names) == (0, ["a_1.wav", "a_2.wav"])


def test_more_than_the_slots_is_one_sentence(separate, capsys):
    with pytest.raises(FileNotFoundError):
        separate(9.0, "--speakers=4")
    assert capsys.readouterr().err == "error: --speakers is 4; the model has 3 slots.\n"
