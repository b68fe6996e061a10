"""Scores of whole mixtures, as the ladder takes them, against an independent implementation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import scoring
from audioslots_jax.audio import MASKS, STFT
from audioslots_jax.data import Libri2Mix, Voices
from audioslots_jax.scoring import Protocol
from experiments.table1 import estimators, run

WINDOW, HOP = 512, 125
HANN = np.sin(np.pi * np.arange(WINDOW) / WINDOW) ** 2


def transform(wave, edges):
    """(time, bin); the waveform's end and, where centred, its beginning are padded with zeros."""
    front = WINDOW // 2 if edges == "B" else 0
    padded = np.pad(wave, (front, 2 * WINDOW))
    starts = range(0, len(wave), HOP)
    return np.array([np.fft.rfft(HANN * padded[start : start + WINDOW]) for start in starts])


def invert(frames, samples, edges):
    """Overlap-add over the energy of the windows: of endless frames (A), or those present (B)."""
    total = np.zeros(samples + 4 * WINDOW)
    present = np.zeros_like(total)
    for number, frame in enumerate(np.fft.irfft(frames, WINDOW)):
        total[number * HOP :][:WINDOW] += HANN * frame
        present[number * HOP :][:WINDOW] += HANN**2
    endless = np.zeros_like(total)
    for start in range(-10 * HOP, len(total), HOP):
        inside = max(start, 0)
        part = (HANN**2)[inside - start : len(total) - start]
        endless[inside : inside + len(part)] += part
    if edges == "A":
        return (total / endless)[:samples]
    return (total / np.maximum(present, 0.1 * present.max()))[WINDOW // 2 :][:samples]


def si_snr(target, estimate):
    scaled = np.dot(target, estimate) / np.dot(target, target) * target
    return 10 * np.log10(np.sum(scaled**2) / np.sum((scaled - estimate) ** 2))


def masked_chunk(sources, edges, mask):
    """The mixture of one chunk through the oracle masks of its sources."""
    spectra = [transform(source, edges) for source in sources]
    magnitudes = np.abs(spectra)
    magnitudes[..., 256] = magnitudes[..., 255]  # the Nyquist bin has no mask of its own
    if mask == "ibm":
        first = magnitudes[0] >= magnitudes[1]
        masks = np.stack([first, ~first]).astype(np.float64)
    else:
        masks = magnitudes**2 / np.maximum(np.sum(magnitudes**2, axis=0), 1e-300)
    return [invert(m * sum(spectra), sources.shape[1], edges) for m in masks]


def independent(sources, chunk, edges, mask, stitching):
    """Mean SI-SNR and SI-SNRi of the oracle, chunk by chunk as the definition says."""
    sources = np.asarray(sources, np.float64)
    samples = sources.shape[1]
    hop = chunk if stitching == "oracle" else chunk // 2
    fade = np.minimum(np.arange(chunk) + 0.5, chunk - np.arange(chunk) - 0.5)
    total, weights = np.zeros((2, samples + chunk)), np.zeros(samples + chunk)
    start, before = 0, None
    while True:
        piece = np.zeros((2, chunk))
        inside = sources[:, start : start + chunk]
        piece[:, : inside.shape[1]] = inside
        estimates = np.array(masked_chunk(piece, edges, mask))
        if stitching == "oracle":
            reference, compared = piece, estimates
        else:
            reference, compared = before, estimates[:, :hop]
        if reference is not None and np.sum((reference - compared[::-1]) ** 2) < np.sum(
            (reference - compared) ** 2
        ):
            estimates = estimates[::-1]
        before = estimates[:, hop:]
        total[:, start : start + chunk] += fade * estimates
        weights[start : start + chunk] += fade
        if start + chunk >= samples:
            break
        start += hop
    joined = (total / np.maximum(weights, 1e-9))[:, :samples]
    best = max(
        np.mean([si_snr(s, e) for s, e in zip(sources, order, strict=True)])
        for order in (joined, joined[::-1])
    )
    return best, best - np.mean([si_snr(source, sources.sum(axis=0)) for source in sources])


@functools.cache
def ladder(chunk, edges):
    """The ladder's own scorer of oracle masks, compiled once for all tests."""
    return run.make_scorer(estimators.ORACLE, chunk, estimators.PROTOCOLS[edges])


def compare(mixtures, chunk, edges, atol, kinds=run.KINDS):
    """Means over the mixtures, which the ladder pads with zeros."""
    found = np.mean([ladder(chunk, edges)(sources) for sources in mixtures], axis=0)
    for kind in kinds:
        expected = np.mean([independent(s, chunk, edges, *kind) for s in mixtures], axis=0)
        of_kind = found[run.KINDS.index(kind)]
        np.testing.assert_allclose(of_kind[:2], expected, atol=atol, err_msg=str(kind))
        assert of_kind[2] == 0, "true sources never swap"


@pytest.fixture(scope="module")
def voices():
    return Voices(sample_rate=16000, samples=52_800).batch(0, 0, range(1), 1)[0]


@pytest.mark.parametrize("edges", ["A", "B"])
@pytest.mark.parametrize("chunk", [8000, 16000])
def test_synthetic_voices_equal_the_definition(voices, chunk, edges):
    compare([voices], chunk, edges, atol=0.01)


@pytest.mark.parametrize("edges", ["A", "B"])
@pytest.mark.parametrize("chunk", [8000, 16000])
def test_official_mixtures_equal_the_definition(speech, chunk, edges):
    shortest = Libri2Mix(speech / "librimix", "test")
    of_5_seconds = [item.sources for item in shortest[:8] if item.sources.shape[1] <= run.PADDING]
    compare(of_5_seconds[:3], chunk, edges, atol=0.02)


@functools.partial(jax.jit, static_argnums=(2, 3))
def score_oracle(sources, order, mask, protocol, samples=None):
    """The oracle with the slots of each chunk in an order of its own."""
    magnitudes = scoring.oracle(scoring.cut(sources, protocol), protocol.stft)
    shuffled = jnp.take_along_axis(magnitudes, order[:, :, None, None], axis=1)
    return scoring.score(sources, MASKS[mask](shuffled), protocol, samples)


def scores_in_and_out_of_order(mixtures, mask, protocol):
    """Mean SI-SNR of the oracle, the same with shuffled slots, and the swaps then."""
    random = np.random.default_rng(0)
    in_order, shuffled = [], []
    for mixture in mixtures:
        sources, samples = run.padded(mixture), mixture.shape[1]
        chunks = scoring.cut(jnp.asarray(sources), protocol).shape[0]
        order = np.tile(np.arange(2), (chunks, 1))
        for scores, slots in ((in_order, order), (shuffled, random.permuted(order, axis=1))):
            scores.append(score_oracle(sources, slots, mask, protocol, samples))
    means = [np.mean([one.si_snr for one in scores]) for scores in (in_order, shuffled)]
    return *means, sum(int(one.swaps) for one in shuffled)


@pytest.mark.parametrize(
    ("mode", "edges", "mask", "stitching", "level"),
    [("max10", "A", "ibm", "oracle", 12.20), ("min", "B", "wiener", "blind", 14.04)],
)
def test_all_official_mixtures_at_hand(speech, mode, edges, mask, stitching, level):
    """The paper's protocol and the one for users: as defined, whatever the order of slots."""
    mixtures = Libri2Mix(speech / "librimix", "test", **run.MODES[mode])
    sources = [item.sources for item in mixtures]
    protocol = Protocol(8000, estimators.PROTOCOLS[edges], stitching)
    in_order, shuffled, swaps = scores_in_and_out_of_order(sources, mask, protocol)
    expected = [independent(s, 8000, edges, mask, stitching)[0] for s in sources]
    assert in_order == pytest.approx(np.mean(expected), abs=0.02)
    assert in_order == pytest.approx(level, abs=0.01)
    assert shuffled > in_order - 0.05
    assert swaps == 0


@pytest.mark.parametrize("stitching", scoring.STITCHINGS)
def test_stitching_restores_shuffled_slots(voices, stitching):
    protocol = Protocol(8000, STFT(), stitching)
    in_order, shuffled, swaps = scores_in_and_out_of_order([voices], "wiener", protocol)
    assert shuffled == pytest.approx(in_order, abs=0.001)
    assert swaps == 0


def test_swaps_count_chunks_in_another_order():
    chunks = jax.random.normal(jax.random.key(0), (5, 2, 100))
    mixed = chunks.at[jnp.array([1, 3])].set(chunks[jnp.array([1, 3]), ::-1])
    silent = jnp.zeros((2, 2, 100))  # no order is wrong where there is no sound
    found = [int(scoring.swapped(x, chunks)) for x in (chunks, mixed, chunks[:, ::-1])]
    assert found == [0, 2, 5]
    assert int(scoring.swapped(silent, silent)) == 0


@pytest.mark.parametrize("samples", [8_001, 21_000, 52_800])
@pytest.mark.parametrize("stitching", scoring.STITCHINGS)
def test_zeros_at_the_end_change_nothing(voices, stitching, samples):
    protocol = Protocol(8000, STFT(), stitching)
    found = []
    for sources in (voices[:, :samples], run.padded(voices[:, :samples])):
        chunks = scoring.cut(jnp.asarray(sources), protocol).shape[0]
        order = np.tile(np.arange(2), (chunks, 1))
        found.append(score_oracle(sources, order, "ibm", protocol, samples))
    for bare, among_zeros in zip(*found, strict=True):
        np.testing.assert_allclose(among_zeros, bare, atol=1e-4)
