"""Training crops of Libri2Mix."""

import numpy as np
import pyloudnorm
import pytest

from audioslots_jax import UserError
from audioslots_jax.data import DynamicMixing, Libri2Mix, OfficialMixing, open_store
from audioslots_jax.data import libri2mix_crops as crops_of
from audioslots_jax.data.draws import epoch_order, uniforms

SAMPLES = 8000


@pytest.fixture(scope="module")
def official(librimix):
    return Libri2Mix(librimix, "train-100", "max")


def stored_utterances(stored, subset="train-clean-100"):
    store = open_store(stored)
    rows = np.flatnonzero(np.char.startswith(store.table["name"], subset.encode()))
    return store, store.table[rows], store.select(rows)


def locate(crop, utterance):
    """Where a crop begins in an utterance, up to a gain: where the correlation is highest."""
    length = len(utterance) + len(crop)
    spectrum = np.fft.rfft(utterance, length) * np.conj(np.fft.rfft(crop, length))
    start = int(np.argmax(np.fft.irfft(spectrum, length)[: len(utterance)]))
    part = utterance[start : start + len(crop)]
    return start, np.corrcoef(np.pad(part, (0, len(crop) - len(part))), crop)[0, 1]


@pytest.mark.parametrize("mixing", ["official", "dynamic"])
def test_hosts_make_disjoint_shares_of_the_same_batch(stored, mixing):
    """Each reads its own rows alone: the sum of what all read is what one host reads."""
    reads = []

    def count(utterances):
        read = utterances.read
        utterances.read = lambda indices, starts, gains, out: (
            reads.extend(zip(indices.tolist(), starts.tolist(), strict=True)),
            read(indices, starts, gains, out),
        )

    if mixing == "official":
        mixtures = Libri2Mix(stored, "train-100", "max")
        count(mixtures._utterances)
        crops = OfficialMixing(mixtures, samples=SAMPLES)
    else:
        utterances = stored_utterances(stored)[2]
        count(utterances)
        crops = DynamicMixing(utterances, samples=SAMPLES)
    reads.clear()  # the type checks of the tests look at a mixture
    whole = crops.batch(5, 10_000_000, range(8), 8)
    assert whole.sources.shape == (8, 2, SAMPLES)
    np.testing.assert_array_equal(whole.mixture, whole.sources.sum(axis=1))
    assert whole.present.shape == (8, 2)
    assert whole.present.all()
    everything = set(reads)
    assert len(everything) == len(reads) == 16
    for hosts in (2, 4):
        shares, read = [], []
        for rows in np.split(np.arange(8), hosts):
            reads.clear()
            shares.append(crops.batch(5, 10_000_000, range(rows[0], rows[-1] + 1), 8).sources)
            read.append(set(reads))
        np.testing.assert_array_equal(np.concatenate(shares), whole.sources)
        assert set.union(*read) == everything
        assert sum(map(len, read)) == 16


@pytest.mark.parametrize("silence", ["keep", "redraw"])
def test_files_and_store_give_the_same_official_batches(librimix, stored, silence):
    batches = []
    for root in (librimix, stored):
        mixtures = Libri2Mix(root, "train-100", "max")
        crops = OfficialMixing(mixtures, samples=SAMPLES, silence=silence)
        batches.append([crops.batch(0, step, range(4), 4).sources for step in (1, 2, 999)])
    np.testing.assert_array_equal(*batches)
    # All rows but the silent ones, of which most consist, differ.
    different = len(np.unique(np.reshape(batches[0], (12, -1)), axis=0))
    assert different == 12 if silence == "redraw" else different > 3


def test_official_crops_lie_anywhere_in_ten_seconds(official):
    """Each is gain x utterance from one start for both sources; an epoch has every mixture once."""
    crops = OfficialMixing(official, samples=SAMPLES, silence="redraw")
    wholes = [np.pad(mixture.sources, ((0, 0), (0, SAMPLES))) for mixture in official]
    drawn = []
    for crop in crops.batch(3, 0, range(8), 8).sources:
        for i, padded in enumerate(wholes):
            start, likeness = locate(crop[0], padded[0])
            if likeness > 0.999:
                np.testing.assert_array_equal(crop, padded[:, start : start + SAMPLES])
                drawn.append(i)
    assert sorted(drawn) == list(range(8))


def test_silence_is_kept_or_drawn_again(official):
    """Utterances of 1 to 2.75 s in 10 s: most crops hold nothing."""
    kept, redrawn = (
        OfficialMixing(official, samples=SAMPLES, silence=way).batch(0, 0, range(64), 64).sources
        for way in ("keep", "redraw")
    )
    quiet = np.sqrt(np.mean(kept**2, axis=-1)).min(axis=1) < 10 ** (crops_of.SILENT_DB / 20)
    assert 0.6 < np.mean(quiet) < 0.95
    assert np.sqrt(np.mean(redrawn**2, axis=-1)).min() >= 10 ** (crops_of.SILENT_DB / 20)
    np.testing.assert_array_equal(redrawn[~quiet], kept[~quiet])


def test_dynamic_pairs_are_of_two_speakers_and_new_in_every_epoch(stored):
    """Recognised from the audio: each crop against every utterance."""
    _, table, utterances = stored_utterances(stored)
    crops = DynamicMixing(utterances, samples=SAMPLES)
    audio = [utterances.whole(i) for i in range(len(table))]
    epochs = []
    for epoch in range(3):
        pairs = []
        for crop in crops.batch(1, epoch, range(8), 8).sources:
            pairs.append([])
            for source in crop:
                likenesses = [locate(source, whole)[1] for whole in audio]
                pairs[-1].append(int(np.argmax(likenesses)))
                assert max(likenesses) > 0.99
        first, second = np.array(pairs).T
        assert sorted(first) == list(range(8))
        assert all(table["speaker"][first] != table["speaker"][second])
        epochs.append({frozenset(pair) for pair in pairs})
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_every_other_speakers_utterance_is_as_likely(stored):
    _, table, utterances = stored_utterances(stored)
    crops = DynamicMixing(utterances, samples=SAMPLES)
    choices = np.arange(600) / 600
    for first in range(8):
        pairs = crops.pairs(np.full(600, first), choices)
        assert len(set(pairs[:, 0])) == 1
        second, counts = np.unique(pairs[:, 1], return_counts=True)
        assert set(counts) == {100}
        others = np.flatnonzero(table["speaker"] != table["speaker"][pairs[0, 0]])
        assert list(second) == list(others)


def test_levels_are_those_of_librimix(stored):
    """The loudness of whole utterances, measured after the gain; a peak that clips becomes 0.9."""
    _, _, utterances = stored_utterances(stored)
    crops = DynamicMixing(utterances, samples=SAMPLES)
    pairs = np.arange(8).reshape(4, 2)
    levels = np.linspace(0, 0.999, 8).reshape(4, 2)
    gains = crops.gains(pairs, levels)
    meter = pyloudnorm.Meter(16000)
    for i in range(8):
        audio = np.float64(gains.flat[i]) * utterances.whole(i)
        assert meter.integrated_loudness(audio) == pytest.approx(-33 + 8 * levels.flat[i], abs=0.02)
    utterances.peak[:] = 1.0001 / gains.reshape(-1)
    np.testing.assert_allclose(crops.gains(pairs, levels).reshape(-1), 0.9 / utterances.peak)


def test_a_loud_mixture_is_turned_down_to_the_peak(stored, monkeypatch):
    _, _, utterances = stored_utterances(stored)
    quiet = DynamicMixing(utterances, samples=SAMPLES).batch(0, 1, range(16), 16).sources
    peaks = np.abs(quiet.sum(axis=1)).max(axis=1)
    limit = float(np.median(peaks))
    monkeypatch.setattr(crops_of, "PEAK", limit)
    turned = DynamicMixing(utterances, samples=SAMPLES).batch(0, 1, range(16), 16).sources
    expected = quiet * np.minimum(1, limit / peaks)[:, None, None]
    np.testing.assert_allclose(turned, expected, rtol=1e-6)
    assert np.abs(turned.sum(axis=1)).max() <= limit * 1.00001


def test_one_speaker_is_not_enough(stored):
    store, table, _ = stored_utterances(stored)
    one = store.select(np.flatnonzero(store.table["speaker"] == table["speaker"][0]))
    for utterances in (one, store.select(np.zeros(0, int))):
        with pytest.raises(UserError, match="two speakers or more"):
            DynamicMixing(utterances, samples=SAMPLES)


def test_draws_depend_on_purpose_seed_and_number_alone():
    whole = uniforms("a", 7, range(2**40, 2**40 + 50), 4)
    np.testing.assert_array_equal(
        uniforms("a", 7, range(2**40 + 20, 2**40 + 30), 2), whole[20:30, :2]
    )
    others = [
        uniforms("b", 7, range(2**40, 2**40 + 50), 4),
        uniforms("a", 8, range(2**40, 2**40 + 50), 4),
        uniforms("a", 7, range(50), 4),
    ]
    assert len(np.unique(np.concatenate([whole, *others]))) == 4 * 50 * 4
    many = uniforms("a", 0, range(20_000), 4)
    assert 0 <= many.min() < many.max() < 1
    np.testing.assert_allclose(many.mean(axis=0), 0.5, atol=0.01)
    assert np.abs(np.corrcoef(many.T) - np.eye(4)).max() < 0.03


def test_an_epoch_has_every_item_once_in_an_order_of_its_own():
    order = epoch_order("x", 0, range(0, 70), 7).reshape(10, 7)
    assert all(sorted(epoch) == list(range(7)) for epoch in order)
    assert len(np.unique(order, axis=0)) > 8
    np.testing.assert_array_equal(epoch_order("x", 0, range(10, 40), 7), order.reshape(-1)[10:40])
    assert not np.array_equal(epoch_order("x", 1, range(0, 70), 7), order.reshape(-1))
