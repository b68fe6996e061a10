"""Mixtures of speakers in folders of real files, and who of them is held out."""

import itertools
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audioslots_jax import UserError
from audioslots_jax.data import Speakers
from audioslots_jax.data.batch import HELD_OUT_SEED
from audioslots_jax.data.prepare import prepare
from audioslots_jax.data.recordings import scan
from audioslots_jax.data.speakers import LEVELS_DB, SpeakersData
from tests.data.files import SCAN, SHAPE, tone, write


def test_examples_depend_on_their_address_and_pair_different_speakers(folder):
    recordings, _ = scan(folder, **SCAN)
    mixtures = Speakers(recordings, **SHAPE)
    whole = mixtures.batch(1, 5, range(30), 30).sources
    np.testing.assert_array_equal(mixtures.batch(1, 5, range(10, 20), 30).sources, whole[10:20])
    # Each speaker has a frequency of their own.
    hertz = np.fft.rfftfreq(2000, 1 / 8000)[np.abs(np.fft.rfft(whole)).argmax(-1)]
    assert np.all(np.abs(hertz[:, 0] - hertz[:, 1]) > 200)
    levels = 10 * np.log10(np.mean(whole**2, axis=-1))
    assert LEVELS_DB[0] - 0.5 < levels.min() < levels.max() < LEVELS_DB[1] + 0.5
    assert np.ptp(levels) > 5


def test_active_crops_avoid_pauses(tmp_path):
    audio = np.concatenate([np.zeros(40_000), tone(1.0, 8000)])
    for speaker in "ab":
        write(tmp_path / speaker / "mostly_pause.wav", audio)
    recordings, _ = scan(tmp_path, **SCAN)

    def silent(active):
        batch = Speakers(recordings, **SHAPE, active=active).batch(0, 0, range(20), 20)
        return np.sum(np.max(np.abs(batch.sources), axis=-1) == 0)

    assert silent(active=False) > 10
    assert silent(active=True) == 0


def test_speed_changes_pitch_and_what_is_held_out_keeps_its_own(tmp_path):
    for speaker in "abcdef":
        write(tmp_path / speaker / "tone.wav", tone(4.0, 8000, 600))

    def hertz(side, **fields):
        data = SpeakersData(root=str(tmp_path), crop_seconds=1.0, **fields).open()
        sources = getattr(data, side).batch(0, 0, range(40), 40).sources
        return np.abs(np.fft.rfft(sources * np.hanning(8000))).argmax(-1)

    changed = hertz("train", speed=0.2)
    assert 480 <= changed.min() < 520
    assert 680 < changed.max() <= 720
    assert np.ptp(changed, axis=1).max() > 50  # each source has a speed of its own
    assert set(hertz("validation", speed=0.2).flat) == set(hertz("train").flat) == {600}


def test_a_file_lost_during_training_is_replaced(folder):
    recordings, _ = scan(folder, **SCAN)
    # One recording is enough for a crop, or both are joined.
    for samples in (2000, 10_000):
        mixtures = Speakers(recordings, sample_rate=8000, samples=samples)
        lost, other = (recording.path for recording in recordings["speaker1"])
        lost.rename(lost.with_suffix(".lost"))
        with pytest.warns(UserWarning, match=re.escape(str(lost))):
            mixtures.batch(0, 0, range(20), 20)
        other.rename(other.with_suffix(".lost"))
        with (
            pytest.raises(UserError, match="has a crop that can be used"),
            pytest.warns(UserWarning, match="takes its place"),
        ):
            mixtures.batch(0, 0, range(20), 20)
        for path in (lost, other):
            path.with_suffix(".lost").rename(path)


# Twenty speakers, each of a frequency of their own, with a long and a short recording to choose
# from; the short one is shorter than a crop of training.
RATE, CROP_SECONDS, NAMES = 800, 0.4, [f"s{i:02d}" for i in range(20)]
HERTZ = {name: 15.0 * (i + 1) for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def takes(tmp_path_factory):
    root = tmp_path_factory.mktemp("takes")
    for name in NAMES:
        for length, seconds in (("long", 12.0), ("short", 0.3)):
            write(root / f"{name}-{length}.wav", tone(seconds, RATE, HERTZ[name]), RATE)
    return root


def lay_out(takes, root, short):
    for name in NAMES:
        (root / name).mkdir(parents=True)
        take = takes / f"{name}-{'short' if name in short else 'long'}.wav"
        (root / name / "take.wav").symlink_to(take)


def recognised(sources):
    """The speakers of sources, by their frequencies."""
    sources = np.reshape(sources, (-1, np.shape(sources)[-1]))
    spectra = np.abs(np.fft.rfft(sources, 16 * sources.shape[1]))
    hertz = np.fft.rfftfreq(16 * sources.shape[1], 1 / RATE)[spectra.argmax(axis=1)]
    return {min(NAMES, key=lambda name: abs(HERTZ[name] - value)) for value in hertz}


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.sets(st.sampled_from(NAMES)))
@example(set(NAMES))
def test_speakers_scored_are_those_held_out_whatever_recordings_are_short(takes, short):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lay_out(takes, root, short)
        config = {"root": folder, "sample_rate": RATE}
        run = SpeakersData(**config, crop_seconds=CROP_SECONDS).open()
        trained = recognised(run.train.batch(0, 0, range(120), 120).sources)
        validated = recognised(
            [run.validation.batch(HELD_OUT_SEED, i, range(1), 1).sources for i in range(6)]
        )
        # As evaluation does it, later.
        test = SpeakersData(**config).open_test(run.held_out, 6)
        scored = recognised([whole.sources for whole in test])
        assert [whole.name for whole in test] == [f"speakers-{i}" for i in range(6)]
        assert {len(whole.mixture) for whole in test[:2]} == {10 * RATE}
    assert (scored, validated) == (set(run.held_out["test"]), set(run.held_out["validation"]))
    assert trained == set(NAMES) - scored - validated
    assert not scored & validated


def test_a_division_is_remembered_and_a_missing_speaker_is_refused(takes, tmp_path, capsys):
    lay_out(takes, tmp_path, {"s03"})
    data = {"root": str(tmp_path), "sample_rate": RATE}
    first = SpeakersData(**data).open()
    names = " for validation, ".join(map(", ".join, first.held_out.values()))
    assert f"held out: speakers {names} for the test; their hashes chose too few" in (
        capsys.readouterr().out
    )
    # A division that no hash would make.
    held_out = {"validation": NAMES[:2], "test": NAMES[-3:]}
    again = SpeakersData(**data).open(held_out)
    assert "s00, s01 for validation, s17, s18, s19 for the test.\n" in capsys.readouterr().out
    assert again.held_out == held_out
    assert recognised(again.train.batch(0, 0, range(99), 99).sources) == set(NAMES[2:-3])
    scored = SpeakersData(**data).open_test(held_out, 9)
    assert recognised([whole.sources for whole in scored]) == set(NAMES[-3:])
    # The fingerprint is of the recordings and their division, not of the crops.
    assert again.fingerprint != first.fingerprint
    longer = SpeakersData(**data, crop_seconds=9.0).open(held_out)
    assert longer.fingerprint == again.fingerprint
    shutil.rmtree(tmp_path / "s18")
    gone = SpeakersData(**data)
    for use in (lambda: gone.open(held_out), lambda: gone.open_test(held_out, 1)):
        with pytest.raises(UserError, match="no usable recordings of s18, held out from this run"):
            use()
    shutil.rmtree(tmp_path / "s10")
    assert SpeakersData(**data).open({**held_out, "test": ["s17", "s19"]}).fingerprint not in (
        first.fingerprint, again.fingerprint,
    )  # fmt: skip


@pytest.mark.parametrize("origin", ["folder", "store"])
@pytest.mark.parametrize("test_folder", [True, False])
def test_a_folder_may_bring_its_own_division(takes, tmp_path, origin, test_folder):
    parts = {"train": NAMES[:4], "dev": NAMES[4:12], "test": NAMES[12:] if test_folder else []}
    for part, names in parts.items():
        for name in names:
            write(tmp_path / "in" / part / name / "a.wav", tone(1.0, RATE, HERTZ[name]), RATE)
    root = tmp_path / "in"
    if origin == "store":
        root = tmp_path / "store"
        prepare(tmp_path / "in", root, RATE)
    data = SpeakersData(root=str(root), sample_rate=RATE)
    run = data.open()
    validation, test = (set(run.held_out[side]) for side in ("validation", "test"))
    if test_folder:
        assert (validation, test) == (set(parts["dev"]), set(parts["test"]))
    else:
        assert validation | test == set(parts["dev"])
        assert not validation & test
    assert recognised(run.train.batch(0, 0, range(40), 40).sources) == set(parts["train"])
    # Of whoever has these names in train/, the run has held out nobody.
    assert len(data.open(run.held_out).train.recordings) == 4


@pytest.mark.parametrize("divided", [True, False])
def test_folders_are_joined(takes, tmp_path, divided):
    """Speakers of a folder without a division join the training of one that has it."""
    parts = {"A/train": NAMES[:4], "A/dev": NAMES[4:10]} if divided else {"A": NAMES[:10]}
    for part, names in (parts | {"B": NAMES[10:]}).items():
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / "take.wav").symlink_to(takes / f"{name}-long.wav")
    roots = f"{tmp_path / 'A'}, {tmp_path / 'B'}"
    run = SpeakersData(root=roots, sample_rate=RATE).open()
    held_out = {name for names in run.held_out.values() for name in names}
    if divided:
        assert held_out == set(parts["A/dev"])
    else:  # as one folder with all of them
        lay_out(takes, tmp_path / "all", set())
        together = SpeakersData(root=str(tmp_path / "all"), sample_rate=RATE).open()
        assert run.held_out == together.held_out
    trained = recognised(run.train.batch(0, 0, range(120), 120).sources)
    assert trained == set(NAMES) - held_out
    (tmp_path / "B" / NAMES[0]).symlink_to(tmp_path / "B" / NAMES[12])
    with pytest.raises(UserError, match=f"{NAMES[0]} is a speaker in .* and in another folder"):
        SpeakersData(root=roots, sample_rate=RATE).open()
    with pytest.raises(UserError, match="must name folders, divided by commas"):
        SpeakersData(root=f"{tmp_path / 'A'},", sample_rate=RATE).open()


def test_other_speakers_are_held_out_from_another_folder(takes, tmp_path):
    lay_out(takes, tmp_path / "train", {"s01"})
    lay_out(takes, tmp_path / "others", set())
    for copy in (tmp_path / "others").glob("*/*.wav"):
        audio = copy.read_bytes()
        copy.unlink()
        copy.write_bytes(audio)
    data = SpeakersData(root=str(tmp_path / "train"), eval_root=str(tmp_path / "others"))
    run = data.open()
    assert len(run.train.recordings) == 20
    assert sorted(itertools.chain(*run.held_out.values())) == NAMES
    with pytest.raises(UserError, match=r"s00-long.* would be both in"):
        SpeakersData(root=data.root, eval_root=data.root).open()


@pytest.mark.parametrize(
    ("speakers", "sentence"),
    [
        (0, "data.root: no recordings in"),
        (5, "usable recordings of 5 speakers, too few for validation and test and train"),
    ],
)
def test_too_few_speakers_are_one_sentence(takes, tmp_path, speakers, sentence):
    lay_out(takes, tmp_path, set())
    for name in NAMES[speakers:]:
        shutil.rmtree(tmp_path / name)
    with pytest.raises(UserError, match=sentence):
        SpeakersData(root=str(tmp_path)).open()


def test_real_speech(speech):
    root = speech / "speakers" / "dev"
    recordings, summary = scan(root, **SCAN)
    assert summary.endswith("119 recordings of 13 speakers; 119 resampled to 8000 Hz.")
    mixtures = Speakers(recordings, sample_rate=8000, samples=4000, active=True)
    sources = mixtures.batch(0, 0, range(8), 8).sources
    assert np.all(np.sqrt(np.mean(sources**2, axis=-1)) > 10 ** (-50 / 20))


def test_nobody_is_on_two_sides(takes, tmp_path):
    """Neither by name nor through a link."""
    lay_out(takes, tmp_path / "train", set())
    lay_out(takes, tmp_path / "dev", set())
    for name in NAMES[5:]:
        shutil.rmtree(tmp_path / "dev" / name)
    with pytest.raises(UserError, match=r"s00, .* would be both in"):
        SpeakersData(root=str(tmp_path), sample_rate=RATE).open()
    for name in NAMES[:5]:
        shutil.rmtree(tmp_path / "dev" / name)
        (tmp_path / "dev" / f"other{name}").symlink_to(tmp_path / "train" / name)
    with pytest.raises(UserError, match=r"-long.wav.* would be both in"):
        SpeakersData(root=str(tmp_path), sample_rate=RATE).open()
