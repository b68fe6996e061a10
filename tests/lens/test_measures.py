"""What pages are made of: pitches, spectrograms, sounds, crops, joints and swaps."""

import base64
import io
import re
import signal

import jax
import numpy as np
import pytest
import scipy
import soundfile
from ml_collections import ConfigDict
from PIL import Image

from audioslots_jax import cli, lens
from audioslots_jax.data.batch import HELD_OUT_SEED, Whole
from audioslots_jax.evaluation.evaluators import Separation, evaluate, held_out_batches
from audioslots_jax.inference import packaged
from audioslots_jax.inference.recordings import load
from audioslots_jax.lens import embeddings, held_out, images, mixtures, recordings, sections, sounds
from audioslots_jax.lens.apart import take_apart
from audioslots_jax.lens.pitch import pitch
from audioslots_jax.training import settings
from audioslots_jax.training.step import make_task
from tests.data.files import write
from tests.lens.conftest import HOSTILE, RATE


@pytest.fixture(scope="module")
def separator(run):
    return load(run)


@pytest.fixture(scope="module")
def opened(run, separator):
    return mixtures.open_held_out(separator, run)


@pytest.mark.parametrize("hertz", [90, 150, 220, 310, 440, 880])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_voice_has_the_pitch_of_its_lowest_partial(hertz, rate):
    """Whatever the partials' strengths; noise and silence have none."""
    seconds = np.arange(rate) / rate
    for strengths in ((1, 0.5, 0.3, 0.2), (0.2, 1, 0.5, 0.5)):
        partials = [a * np.sin(2 * np.pi * hertz * n * seconds) for n, a in enumerate(strengths, 1)]
        assert pitch(sum(partials), rate) == pytest.approx(hertz, rel=0.02)
    assert np.isnan(pitch(np.random.default_rng(0).normal(size=rate), rate))
    assert np.isnan(pitch(np.zeros(rate), rate))


@pytest.mark.parametrize("samples", [300, 80_000, 3_000_000])
def test_a_spectrogram_shows_sounds_at_their_times_and_frequencies(samples):
    """A tone of 1 kHz, then one of 3 kHz."""
    seconds = np.arange(samples) / RATE
    tones = np.sin(2 * np.pi * np.where(seconds < seconds[-1] / 2, 1000, 3000) * seconds)
    power = images.power(tones.astype(np.float32), RATE)
    rows, columns = power.shape
    assert rows <= images.ROWS
    assert columns <= images.COLUMNS
    loudest = (power.argmax(axis=0) + 0.5) / rows * RATE / 2
    third = max(columns // 3, 1)
    np.testing.assert_allclose(loudest[:third], 1000, atol=40)
    np.testing.assert_allclose(loudest[-third:], 3000, atol=40)


def test_the_last_column_is_as_bright_as_the_others():
    """Noise in 977 columns of 12 frames, of which the last has one, half beyond the end."""
    noise = np.random.default_rng(0).normal(size=256 * 12 * 976).astype(np.float32)
    columns = images.power(noise, RATE).mean(axis=0)
    assert len(columns) == 977
    assert columns[-1] > np.median(columns) / 4


@pytest.fixture
def short(monkeypatch):
    """Pages that hold a second of a recording."""
    monkeypatch.setattr(recordings, "LONGEST", 1.0)


def test_no_more_of_a_recording_is_separated_than_a_page_shows(short, tmp_path):
    sound = np.random.default_rng(0).normal(0, 0.1, (2, 3 * RATE)).astype(np.float32)
    soundfile.write(tmp_path / "long.flac", sound.T, RATE)
    soundfile.write(tmp_path / "short.flac", sound.T[:RATE], RATE)
    assert recordings.beginning(tmp_path / "short.flac", tmp_path) == tmp_path / "short.flac"
    shown, rate = soundfile.read(recordings.beginning(tmp_path / "long.flac", tmp_path))
    assert rate == RATE
    np.testing.assert_allclose(shown, sound.mean(axis=0)[:RATE], atol=1e-4)


def test_a_trace_keeps_no_more_chunks_than_a_page_shows(short, separator):
    """The first ones, whatever batches they come in; and in the order that they have there."""
    trace, random = recordings.new_trace(separator), np.random.default_rng(0)
    orders = random.permuted(np.tile(np.arange(3), (400, 1)), axis=1)
    embeddings = random.normal(size=(400, 3, 2))
    for start in range(0, 400, 7):
        trace.add(orders[start : start + 7], embeddings[start : start + 7])
    most = 1 + -(-(RATE - separator.crop) // separator.hop)
    joined = trace.joined(400, 0.1)
    np.testing.assert_array_equal(joined.order, orders[:most])
    for chunk in (0, most - 1):
        np.testing.assert_array_equal(joined.embeddings[chunk], embeddings[chunk][orders[chunk]])


def test_parts_of_several_recordings_have_names_of_their_own(separator, tmp_path):
    paths = [tmp_path / "one.wav", tmp_path / "two.wav"]
    for path in paths:
        write(path, np.random.default_rng(0).normal(0, 0.1, RATE // 4), RATE)
    shown = recordings.recordings_page([recordings.Model("", separator)], paths).decode()
    titles = re.findall("<h2.*?>(.*?)</h2>", shown)
    assert len(titles) == len(set(titles)) == 2 * 3
    for path in paths:
        assert sum(path.name in title for title in titles) == 3


def test_a_strip_has_a_colour_for_every_number():
    numbers = np.array([[0, 1, 2], [2, 2, 0]])
    picture = images.strip(numbers, ("#ff0000", "#00ff00", "#0000ff"), "x")
    content = base64.b64decode(picture.uri.partition(",")[2])
    stored = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(stored, 255 * np.eye(3, dtype=int)[numbers])


@pytest.mark.parametrize("rate", [8000, 16000, 9600, 44_100])
def test_sounds_are_whole_and_in_time(rate):
    """A burst is where it was; what a page plays is at most `MOST_RATE`."""
    sound = np.zeros(3 * rate, np.float32)
    sound[rate : rate + rate // 4] = 0.1 * np.sin(np.arange(rate // 4) * 2 * np.pi * 440 / rate)
    uri = sounds.mp3(sound, rate, sounds.common_gain([sound, 0.5 * sound]))
    content = base64.b64decode(uri.partition(",")[2])
    heard, heard_rate = soundfile.read(io.BytesIO(content))
    assert heard_rate <= sounds.MOST_RATE
    assert len(heard) == pytest.approx(3 * heard_rate, abs=2)
    assert np.abs(heard).max() == pytest.approx(sounds.LOUDEST, abs=0.1)
    loud = np.flatnonzero(np.abs(heard) > 0.3) / heard_rate
    np.testing.assert_allclose(loud[[0, -1]], [1.0, 1.25], atol=0.005)


def test_embeddings_are_seen_along_their_principal_components():
    """Those of a singular value decomposition, but for their signs."""
    points = np.random.default_rng(0).normal(size=(40, 5)) * [1, 3, 0.1, 2, 0.5] + 4
    left, lengths, _ = scipy.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    flat, share = embeddings.two_dimensions(points)
    np.testing.assert_allclose(np.abs(flat), np.abs(left * lengths)[:, :2], atol=1e-9)
    assert share == pytest.approx(np.sum(lengths[:2] ** 2) / np.sum(lengths**2))
    _, of_one_point = embeddings.two_dimensions(np.ones((9, 3)))
    assert of_one_point == 0


def test_crops_are_those_that_the_training_was_scored_on(separator, opened):
    """The mean of their scores is the evaluator's; and who is heard is held out."""
    task = make_task(settings.complete(ConfigDict(separator.config)))
    evaluator = jax.jit(Separation(task.separator, task.objectives))
    each = {Separation.scores: lambda batch: evaluator(separator.params, batch)}
    scores, _ = evaluate(each, held_out_batches(opened.crops, 6, 4), 6, 0)
    made = held_out.crops(separator, opened.crops, 6)
    assert np.mean(made.si_snri) == pytest.approx(scores["si_snri"], abs=1e-3)
    assert made.embeddings.shape[:2] == (6, 2)
    assert {name for names in made.names for name in names} <= set(HOSTILE)


def test_names_are_those_of_who_is_heard(opened):
    """Every speaker is a tone."""
    batch = held_out_batches(opened.crops, 4, 4)[0]
    for row, sources in enumerate(batch.sources):
        names = opened.crops.names(HELD_OUT_SEED, row, 0, 1)
        for name, source in zip(names, sources, strict=True):
            assert pitch(source, RATE) == pytest.approx(150 + 60 * HOSTILE.index(name), rel=0.05)


def test_swaps_and_joints_are_those_of_the_estimates(separator):
    """An untrained model's slots, scored against themselves with some chunks exchanged."""
    mixture = np.random.default_rng(0).normal(0, 0.1, 4 * RATE).astype(np.float32)
    slots = separator(mixture, RATE)
    chunk = separator.crop
    sources = slots.copy()
    for number in (3, 4, 10):
        part = slice(number * chunk, (number + 1) * chunk)
        sources[:, part] = slots[::-1, part]
    apart = take_apart("", separator, Whole("x", mixture, sources), RATE)
    np.testing.assert_array_equal(np.flatnonzero(apart.scores.swapped), [3, 4, 10])
    np.testing.assert_array_equal(apart.estimates, slots[apart.slots])
    joined = apart.joined
    assert len(joined.order) == 1 + -(-(len(mixture) - chunk) // separator.hop)
    assert joined.hop == pytest.approx(separator.hop / RATE)
    np.testing.assert_array_equal(
        np.sort(joined.order, axis=1)[:, :2], [[0, 1]] * len(joined.order)
    )


def test_levels_and_pitches_of_what_is_not_there_do_not_count():
    sources = np.ones((2, 3, 100), np.float32) * np.float32([1, 0.1, 0])[:, None]
    present = np.array([[True, True, False], [True, False, False]])
    np.testing.assert_allclose(
        held_out.level_differences(sources, present), [20, np.nan], atol=1e-3
    )
    crops = held_out.Crops(
        np.array([3.0, 5.0]), np.zeros(2), np.array([[200.0, 400, 210], [100, 200, 400]]), present,
        np.zeros((2, 3, 4)), [], [2, 2],
    )  # fmt: skip
    np.testing.assert_allclose(crops.distances, [12, np.nan])
    section = sections.counting(crops)
    assert section.text == ["In 50 % of 2 held-out crops the number of voices is right."]
    assert [row[1:] for row in section.tables[0].rows] == [
        ["0", "0", "0", ""], ["0", "0", "1", ""], ["0", "0", "1", "3.00 dB"],
    ]  # fmt: skip


def test_much_sound_is_compressed_more():
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * 16000)
    few, many = map(sounds.compression_level, (600.0, 7 * 600.0))
    assert len(sounds.mp3(noise, 16000, 1.0, many)) < 0.9 * len(sounds.mp3(noise, 16000, 1.0, few))


def test_the_worst_the_median_and_the_best_are_shown():
    scores = {0: 5.0, 2: 1.0, 3: 9.0, 5: 4.0, 6: 6.0}
    assert mixtures.ranked(scores) == [("Worst", 2), ("Median", 0), ("Best", 3)]
    assert mixtures.ranked({4: 1.0}) == [("Mixture 5", 4)]


def test_models_of_the_package_are_named_like_runs(tmp_path, monkeypatch):
    seen = []

    def page(paths):
        seen.extend(paths)
        return b""

    monkeypatch.setattr(lens, "page", page)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    recording = tmp_path / "meeting.wav"
    output = str(tmp_path / "page.html")
    assert cli.main(["lens", "count", "compact", str(recording), "--output", output]) == 0
    assert seen == [packaged.COUNT, packaged.COMPACT, recording]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["count"], "count is a model of the package; name a recording for it, too"),
        (["{tmp}"], "tmp.* is no run of main.py: it has no config.json; name another folder"),
        (["{tmp}/nowhere.wav"], "nowhere.wav: there is no such file"),
        (["{run}", "{tmp}/text.wav"], "text.wav: not a recording"),
        (["{run}", "--output", "{tmp}"], "is a folder; name a file in it"),
        (["{tmp}/text.wav", "--output", "{tmp}/text.wav"], "text.wav is an input"),
        (["{tmp}/text.wav", "--output", "{tmp}/link.html"], "link.html is an input"),
        (["{run}", "--output", "{tmp}/text.wav"], "text.wav is there and no page"),
    ],
)
def test_mistakes_are_one_sentence(run, tmp_path, capsys, monkeypatch, arguments, sentence):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "link.html").hardlink_to(tmp_path / "text.wav")
    given = [one.format(tmp=tmp_path, run=run) for one in arguments]
    before = sorted(tmp_path.iterdir())
    assert cli.main(["lens", "--output", str(tmp_path / "page.html"), *given]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert re.search(sentence, err)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "text.wav").read_text() == "no audio"
