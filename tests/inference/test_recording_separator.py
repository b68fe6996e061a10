"""Separating recordings: lengths, rates, levels, channels and streams."""

import dataclasses
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import audioslots_jax
from audioslots_jax import UserError
from audioslots_jax.audio import blind_order, split
from audioslots_jax.audio.chunks import blind_hop, reorder
from audioslots_jax.data.level import energy_weighted_rms
from audioslots_jax.inference import chunk_processor, recordings
from audioslots_jax.inference.gain import Gain
from audioslots_jax.inference.recordings import load
from audioslots_jax.inference.stitching import BATCH, stitch
from audioslots_jax.workdir import DataRecord
from tests.runs import make_run
from tests.tiny import get_config

RATE, LEVEL = 8000, 0.05


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    make_run(workdir, get_config(), record=DataRecord("", LEVEL, {}))
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


def test_chunks_and_their_overlap_are_the_configs(separator):
    """A model may hear more at once than it was trained on."""
    assert (separator.chunk, separator.hop) == (960, 240)
    own = {**separator.config, "eval": {"chunk_seconds": 2.0, "overlap": 0.2}}
    longer = dataclasses.replace(separator, config=own)
    assert (longer.chunk, longer.hop) == (16_000, 12_800)
    recording = noise(40_000)
    slots = longer(recording, RATE)
    # Where a chunk ends, a frame is missing, and little of the next chunk makes up for it.
    np.testing.assert_allclose(slots.sum(axis=0), recording, atol=5e-3)
    assert np.abs(slots - separator(recording, RATE)).max() > 1e-4


@pytest.mark.parametrize("mask", ["wiener", "ibm"])
def test_it_is_the_chunks_in_blind_order_joined(separator, mask):
    """With the run's own mask, against the whole recording at once, with the functions below."""
    recording = noise(20_000)
    hop = blind_hop(separator.chunk)
    masked = dataclasses.replace(separator.separator, mask=mask)
    mixtures = split(jnp.asarray(recording), separator.chunk, hop)
    gain = Gain(LEVEL, separator.crop)
    gains = [gain(np.asarray(mixtures[i : i + BATCH, None])) for i in range(0, 83, BATCH)]
    made = [
        chunk_processor.estimate(masked, separator.params, batch, np.float32(gain))
        for gain, batch in zip(gains, np.split(mixtures, range(BATCH, 83, BATCH)), strict=True)
    ]
    estimates, embeddings, _ = map(jnp.concatenate, zip(*made, strict=True))
    order = blind_order(estimates, hop, embeddings, masked.front_end.stft)
    ordered = np.zeros((-(-len(mixtures) // BATCH) * BATCH, 2, 1, separator.chunk), np.float32)
    ordered[: len(mixtures), :, 0] = reorder(estimates, order)
    batches = iter(np.split(ordered, len(ordered) // BATCH))
    joined = stitch(lambda _: next(batches), [recording[None]], separator.chunk, hop)
    expected = np.concatenate(list(joined), axis=-1)[:, 0]
    separated = dataclasses.replace(separator, separator=masked)(recording, RATE)
    np.testing.assert_allclose(separated, expected, atol=1e-5)


@pytest.mark.parametrize("rate", [RATE, 44_100])
@pytest.mark.parametrize("chunk_seconds", [0.0, 2.0])
def test_a_recording_shorter_than_a_crop_is_heard_again_until_it_is_as_long(
    separator, chunk_seconds, rate
):
    """In whatever blocks it comes, and in the chunks of a crop or longer ones."""
    config = {**separator.config, "eval": {"chunk_seconds": chunk_seconds, "overlap": 0.2}}
    model = dataclasses.replace(separator, config=config)
    count, crop = 350 * rate // RATE, separator.crop * rate // RATE
    short = noise(2, count)
    inner = slice(count // 5, -count // 5) if rate != RATE else slice(None)  # of the resampler
    expected = model(np.tile(short, 3)[:, :crop], rate)[..., :count][..., inner]
    for blocks in ([short], np.split(short, [1, 200], axis=1)):
        separated = np.concatenate(list(model(blocks, rate)), axis=-1)
        assert separated.shape[2] == count
        np.testing.assert_allclose(
            separated[..., inner], expected, atol=0 if rate == RATE else 2e-2
        )
    with_presence, _ = model.with_presence(short, rate)
    np.testing.assert_array_equal(with_presence, separated)
    silent = model(np.pad(short, ((0, 0), (0, crop - count))), rate)[..., :count]
    assert np.abs(separated - silent).max() > 1e-4


@pytest.mark.parametrize("sizes", [[1] * 50 + [9000], [5000, 1, 12_345], [40_000]])
def test_blocks_of_any_size_give_the_same(separator, sizes):
    recording = noise(2, sum(sizes))
    ends = np.cumsum(sizes)
    blocks = (recording[:, end - size : end] for size, end in zip(sizes, ends, strict=True))
    streamed = np.concatenate(list(separator(blocks, RATE)), axis=-1)
    np.testing.assert_array_equal(streamed, separator(recording, RATE))


@pytest.mark.parametrize("decibels", [-170, -60, 20])
def test_recordings_of_any_level_come_out_alike(separator, decibels):
    """With pauses and a crescendo, so that the level so far changes from batch to batch."""
    recording = noise(30_000) * np.repeat(np.float32([0, 0.1, 0.5, 0, 1]), 6000)
    factor = np.float32(10 ** (decibels / 20))
    expected = factor * separator(recording, RATE)
    separated = separator(factor * recording, RATE)
    np.testing.assert_allclose(separated, expected, atol=1e-4 * np.abs(expected).max())


def test_the_gain_is_that_of_all_chunks_so_far():
    chunks = noise(3, 4, 2, 50) * noise(3, 4, 2, 1, seed=1)
    powers = np.mean(np.square(chunks, dtype=np.float64), axis=3)
    gain = Gain(0.3, 50)
    for number, batch in enumerate(chunks, start=1):
        expected = 0.3 / energy_weighted_rms(powers[:number].ravel())
        assert gain(batch) == pytest.approx(expected, rel=1e-6)
    silence = np.zeros((4, 2, 50), np.float32)
    assert gain(silence) == pytest.approx(expected, rel=1e-6)
    assert Gain(0.3, 50)(silence) == Gain(0.0, 50)(chunks[0]) == 1
    # Zeros that fill up a part do not make it softer, nor a shorter part as heavy as a whole one.
    short = np.pad(chunks[0, :1, :, :10], ((0, 0), (0, 0), (0, 40)))
    both = np.concatenate([short, chunks[0, 1:2]])
    parts = (*chunks[0, 0, :, :10], *chunks[0, 1])
    powers = [np.mean(np.square(part, dtype=np.float64)) for part in parts]
    level = np.sqrt(np.average(powers, weights=np.multiply([10, 10, 50, 50], powers)))
    assert Gain(0.3, 50)(both) == pytest.approx(0.3 / level, rel=1e-6)
    # Parts of a longer chunk count as chunks do, and zeros that fill it up do not.
    longer = np.pad(chunks[0].swapaxes(0, 1).reshape(1, 2, 200), ((0, 0), (0, 0), (0, 2013)))
    assert Gain(0.3, 50)(longer) == pytest.approx(Gain(0.3, 50)(chunks[0]), rel=1e-6)


def test_only_masks_depend_on_the_gain(separator):
    """Estimates add up to the recording, which a model hears at a level of its own."""
    unknown = dataclasses.replace(separator, level=0.0)
    recording = noise(9000) * np.float32(1e-8)  # group norm makes up for less
    plain, levelled = unknown(recording, RATE), separator(recording, RATE)
    np.testing.assert_allclose(plain.sum(axis=0), recording, atol=1e-13)
    np.testing.assert_allclose(levelled.sum(axis=0), recording, atol=1e-13)
    assert np.abs(plain - levelled).max() > 1e-11


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


@pytest.mark.parametrize("rate", [RATE, 16_000])
def test_a_buffer_may_be_filled_again(separator, rate):
    recording = noise(1, 9000)

    def blocks():
        buffer = np.empty((1, 1000), np.float32)
        for block in np.split(recording, 9, axis=1):
            buffer[:] = block
            yield buffer

    whole = separator(recording, rate)
    np.testing.assert_allclose(
        np.concatenate(list(separator(blocks(), rate)), axis=-1), whole, atol=1e-5
    )


@pytest.mark.parametrize(("samples", "rate"), [(3, 192_000), (40, 768_000)])
def test_the_shortest_streams_keep_their_length(separator, samples, rate):
    blocks = separator(iter([np.ones((1, 1), np.float32)] * samples), rate)
    assert sum(block.shape[2] for block in blocks) == samples


def test_what_belongs_to_nobody_keeps_its_share_of_what_the_model_cannot_hear(
    separator, monkeypatch
):
    """Two slots that hold a half and a quarter of everything do so above the band as well."""
    parts = np.array([0.5, 0.25], np.float32)[:, None, None]
    monkeypatch.setattr(
        recordings, "ChunkProcessor", lambda *_, **__: lambda chunks: parts * chunks[:, None]
    )
    monkeypatch.setattr(recordings.RecordingSeparator, "adds_up", False)
    recording = noise(2, 48_000)
    slots = separator(recording, 16_000)
    assert slots.shape == (2, 2, 48_000)
    inner = slice(500, -500)
    np.testing.assert_allclose(slots[..., inner], parts * recording[:, inner], atol=2e-3)


@pytest.mark.parametrize("rate", [8001, 44_100])
def test_what_the_model_cannot_hear_is_not_lost(separator, rate):
    recording = noise(2, 2 * rate + 7)
    slots = separator(recording, rate)
    np.testing.assert_allclose(slots.sum(axis=0), recording, atol=1e-5)


def test_channels_are_separated_alike(separator):
    """The same sound, softer in the second channel, and silence in the third."""
    recording = noise(20_000)
    slots = separator(np.stack([recording, recording, 0 * recording]), RATE)
    assert slots.shape == (2, 3, 20_000)
    np.testing.assert_allclose(slots[:, 0], slots[:, 1], atol=1e-6)
    assert not slots[:, 2].any()


def test_the_network_sees_one_channels_chunks_at_a_time(separator, monkeypatch):
    seen, estimate = [], chunk_processor.estimate

    def watched(separator, params, mixtures, gain):
        seen.append(mixtures.shape)
        return estimate(separator, params, mixtures, gain)

    monkeypatch.setattr(chunk_processor, "estimate", watched)
    assert separator(noise(64, 100), RATE).shape == (2, 64, 100)
    assert seen == 64 * [(BATCH, separator.chunk)]


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
    with pytest.raises(UserError, match=r"not finite, near 1\.13 s"):
        list(separator([np.zeros((1, 50_000)), np.full((1, 9), np.inf)], 44_100))
    for value in (1e7, -1e300):
        with pytest.raises(UserError, match=r"(far beyond full|not finite).*, near 0\.50 s"):
            separator(np.array([*np.zeros(4000), value]), RATE)
    for rate in (0, 999, 10**6):
        with pytest.raises(UserError, match="must be from 1000 to 768000 Hz"):
            separator(noise(100), rate)
    for wrong in ([np.zeros(10)], [np.zeros((1, 10)), np.zeros((2, 10))]):
        with pytest.raises(ValueError, match=r"blocks are \(channel, sample\), of the same"):
            list(separator(wrong, 44_100))
    with pytest.raises(UserError, match="there is no such file"):
        separator(tmp_path / "nothing.wav")


def test_the_best_checkpoint_is_loaded(tmp_path):
    state = make_run(tmp_path / "run", get_config(), scores=(3.0, 7.0, 5.0, None))
    separator = load(tmp_path / "run")
    assert (separator.step, separator.score) == (2, 7.0)
    for loaded, first in zip(*map(jax.tree.leaves, (separator.params, state.params)), strict=True):
        np.testing.assert_array_equal(loaded, 2 * first)
    assert (separator.sample_rate, separator.chunk) == (8000, 960)


def test_a_model_that_is_not_finite_is_one_sentence(separator):
    params = jax.tree.map(lambda x: x * np.float32(np.nan), separator.params)
    broken = dataclasses.replace(separator, params=params)
    with pytest.raises(UserError, match=r"near 0\.00 s the model gives samples that"):
        broken(noise(1000), RATE)


def test_runs_from_before_a_field_was_there_load(run, separator, tmp_path):
    """Fields that are missing take their defaults; a level that is not known changes nothing."""
    shutil.copytree(run, tmp_path / "old")
    (tmp_path / "old" / "data.json").unlink()
    config = json.loads((run / "config.json").read_text())
    config["data"]["fingerprint"] = "0123"
    for section, field in (("eval", "mask"), ("train", "ema_decay"), ("data", "sample_rate")):
        del config[section][field]
    for section in ("precision", "optimizer", "objectives"):
        del config[section]
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    old = load(tmp_path / "old")
    assert (old.separator, old.level, old.sample_rate) == (separator.separator, 0.0, RATE)
    expected = dataclasses.replace(separator, level=0.0)(noise(5000), RATE)
    np.testing.assert_array_equal(old(noise(5000), RATE), expected)


def test_separating_imports_neither_optax_nor_what_trains(run):
    program = (
        "import sys, numpy, audioslots_jax; "
        f"audioslots_jax.load({str(run)!r})(numpy.zeros(100), 8000); "
        "ours = {m for m in sys.modules if m.startswith('audioslots_jax.training.')}; "
        "assert ours == {'audioslots_jax.training.checkpoints'}, ours; "
        "heavy = {'optax', 'tensorflow', 'clu', 'matplotlib'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (shutil.rmtree, "is no run of main.py: its config.json cannot be read"),
        (lambda run: (run / "config.json").write_text("{"), "is no run of main.py"),
        (lambda run: (run / "config.json").write_text("[]"), "is no run of main.py"),
        (lambda run: (run / "config.json").write_text("{}"), "is no run of main.py"),
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
