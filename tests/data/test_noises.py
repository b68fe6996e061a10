"""Recorded noise: heard in mixtures, never in two sides, and part of what a run is."""

import shutil

import numpy as np
import pytest
import soundfile

from audioslots_jax import UserError, fields
from audioslots_jax.data import data_sets
from audioslots_jax.data.level import rms
from audioslots_jax.data.noises import open_noises
from audioslots_jax.data.prepare import prepare
from audioslots_jax.data.voices import VoicesData
from tests.data.files import tone, write

RATE, COUNT = 8000, 12


def hertz(number):
    """The pitch that a recording is known by."""
    return 500 + 250 * number


@pytest.fixture
def noises(tmp_path):
    """Twelve tones in folders of any depth, of another rate now and then."""
    root = tmp_path / "noises"
    for number in range(COUNT):
        rate = (8000, 16_000)[number % 2]
        write(root / f"{number % 3}" / f"n{number}.wav", tone(0.6, rate, hertz(number)), rate)
    return root


def section(root, **changes):
    return {
        "kind": "voices", "crop_seconds": 0.1, "noise": "recorded", "noise_root": str(root),
        **changes,
    }  # fmt: skip


def heard(mixtures, plain, rows=40):
    """The recordings that are heard beside the voices, by their pitch."""
    numbers = set()
    batch, without = (x.batch(0, 0, range(rows), rows) for x in (mixtures, plain))
    np.testing.assert_array_equal(batch.sources, without.sources)
    for noise in batch.mixture - without.mixture:
        spectrum = np.abs(np.fft.rfft(noise))
        pitch = np.argmax(spectrum) * RATE / len(noise)
        numbers.add(round((pitch - 500) / 250))
    return numbers


def test_every_side_hears_recordings_of_its_own_and_the_same_voices(noises, tmp_path):
    data = data_sets.make(section(noises)).open()
    plain = data_sets.make(section("", noise="")).open()
    train, validation = heard(data.train, plain.train), heard(data.validation, plain.validation)
    of_test = {round((p - 500) / 250) for p in pitches_of(open_noises(str(noises), RATE)["test"])}
    assert len(train) >= COUNT - 4
    assert not train & validation
    assert not (train | validation) & of_test
    shutil.copytree(noises, tmp_path / "moved")
    moved = data_sets.make(section(tmp_path / "moved")).open()
    assert (moved.fingerprint, moved.held_out) == (data.fingerprint, data.held_out)
    assert len(data.held_out["test_noise"]) == len(of_test)


def pitches_of(recordings):
    for one in recordings:
        spectrum = np.abs(np.fft.rfft(one.read(0, one.frames)))
        yield np.argmax(spectrum) * one.sample_rate / one.frames


def test_recordings_have_the_level_that_is_asked_for(noises):
    data = data_sets.make(section(noises, noise_low_db=5.0, noise_high_db=5.0)).open()
    batch = data.train.batch(0, 0, range(10), 10)
    for mixture, sources in zip(batch.mixture, batch.sources, strict=True):
        voices = sources.sum(axis=0)
        assert 20 * np.log10(rms(voices) / rms(mixture - voices)) == pytest.approx(5, abs=0.1)


def test_the_fingerprint_changes_with_the_noise_and_with_nothing_else(noises):
    def fingerprint(**changes):
        return data_sets.make(section(noises, **changes)).open().fingerprint

    before = fingerprint()
    assert fingerprint() == before
    assert fingerprint(noise="", noise_root="") == "from voice 2000"
    write(noises / "more.wav", tone(0.5, 8000))
    assert fingerprint() != before


def test_speakers_have_noise_as_well(noises, folder):
    roots = {"root": str(folder / "s"), "noise_root": str(noises)}
    for speaker in range(7):
        write(folder / "s" / f"s{speaker}" / "a.wav", tone(0.5, 8000, 200 + 40 * speaker))
    config = {"kind": "speakers", "crop_seconds": 0.1, "noise": "white,recorded", **roots}
    data = data_sets.make(config)
    opened = data.open()
    assert set(opened.held_out) == {"validation", "test", "validation_noise", "test_noise"}
    plain = data_sets.make({**config, "noise": "", "noise_root": ""}).open(opened.held_out)
    assert plain.fingerprint != opened.fingerprint
    assert data.open(opened.held_out).fingerprint == opened.fingerprint
    (whole,) = data.open_test(opened.held_out, 1)
    assert rms(whole.mixture - whole.sources.sum(axis=0)) > 1e-4


def test_a_store_of_noise_is_heard_alike(noises, tmp_path):
    prepare(noises, tmp_path / "store", RATE)
    data = data_sets.make(section(tmp_path / "store")).open()
    plain = data_sets.make(section("", noise="")).open()
    assert len(heard(data.train, plain.train)) >= COUNT - 4
    assert len(data.held_out["test_noise"]) == 1


def test_a_recording_that_is_lost_gives_way_to_another(noises):
    data = data_sets.make(section(noises)).open()
    for path in list(noises.rglob("*.wav"))[:6]:
        soundfile.write(path, np.zeros(3), RATE)
    with pytest.warns(UserWarning, match="another takes its place"):
        batch = data.train.batch(0, 0, range(20), 20)
    assert np.isfinite(batch.mixture).all()
    for path in noises.rglob("*.wav"):
        path.unlink()
    with (
        pytest.warns(UserWarning, match="another takes its place"),
        pytest.raises(UserError, match="none of the recordings can be read any more"),
    ):
        data.train.batch(0, 1, range(20), 20)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"noise_root": ""}, r"config\.data\.noise_root is ''; it must name a folder of noise"),
        ({"noise_root": "/nowhere"}, "data.noise_root: there is no folder /nowhere"),
        ({"noise": "white"}, "is of no use without recorded in data.noise"),
    ],
)
def test_a_folder_that_cannot_be_is_one_sentence(noises, changes, sentence):
    with pytest.raises(UserError, match=sentence) as told:
        fields.make_section(
            VoicesData, {"noise": "recorded", "noise_root": str(noises), **changes}, "data"
        ).open()
    assert "\n" not in str(told.value)


def test_too_few_recordings_are_one_sentence(tmp_path):
    for number in range(2):
        write(tmp_path / f"{number}.wav", tone(0.5, 8000))
    (tmp_path / "broken.wav").write_text("no sound")
    with pytest.raises(UserError, match=r"2 recordings; 1 of 3 files left out.* too few"):
        open_noises(str(tmp_path), RATE)
