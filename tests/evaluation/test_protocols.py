"""Estimates of whole mixtures by what knows the truth, against an independent implementation."""

import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.data import Libri2Mix
from audioslots_jax.data.data_sets import make
from experiments.table1 import protocols
from experiments.table1.estimators import ORACLE, with_protocol

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


def loudest_first(estimates):
    """Slots in an order that has nothing to do with the sources, but with each chunk's content."""
    return np.take_along_axis(
        estimates, np.argsort(-(estimates**2).sum(axis=-1), axis=-1)[..., None], axis=-2
    )


def shuffled_oracle(separator, params, sources):
    """The oracle's chunks with the louder slot first."""
    estimates = protocols.oracle(separator, params, sources)
    louder = jnp.argsort(-jnp.sum(jnp.square(estimates), axis=2), axis=1)
    return jnp.take_along_axis(estimates, louder[:, :, None], axis=1)


def belong_together(before, after, edges):
    """The order of the slots ``after`` that continues those before, by compressed spectrograms."""
    spectra = [
        [np.abs(transform(wave, edges)[:, :256]) ** 0.3 for wave in waves]
        for waves in (before, after)
    ]
    straight, crossed = (
        sum(np.sum((spectra[0][i] - spectra[1][j]) ** 2) for i, j in enumerate(order))
        for order in ((0, 1), (1, 0))
    )
    return [0, 1] if straight <= crossed else [1, 0]


def independent(sources, chunk, edges, mask, stitching):
    """Estimates chunk by chunk as the definition says, and how many chunks had to be reordered."""
    sources = np.asarray(sources, np.float64)
    samples, hop = sources.shape[1], chunk if stitching == "oracle" else chunk // 4
    fade = np.minimum(np.arange(chunk) + 0.5, chunk - np.arange(chunk) - 0.5)
    total, weights = np.zeros((2, samples + chunk)), np.zeros(samples + chunk)
    start, before, reordered = 0, None, 0
    while True:
        truth = np.zeros((2, chunk))
        heard = sources[:, start : start + chunk]
        truth[:, : heard.shape[1]] = heard
        estimates = loudest_first(np.array(masked_chunk(truth, edges, mask)))
        order = [0, 1]
        if stitching == "oracle":
            errors = [np.sum((truth - estimates[slots]) ** 2) for slots in ([0, 1], [1, 0])]
            order = [0, 1] if errors[0] <= errors[1] else [1, 0]
        elif before is not None:
            order = belong_together(before, estimates[:, :-hop], edges)
        estimates, reordered = estimates[order], reordered + (order != [0, 1])
        before = estimates[:, hop:]
        total[:, start : start + chunk] += fade * estimates
        weights[start : start + chunk] += fade
        if start + chunk >= samples:
            break
        start += hop
    return (total / np.maximum(weights, 1e-9))[:, :samples], reordered


WAYS = [
    (8000, "A", "ibm", "oracle"),
    (8000, "B", "wiener", "oracle"),
    (8000, "B", "ibm", "blind"),
    (16000, "A", "wiener", "blind"),
]


def compare(sources, chunk, protocol, mask, stitching):
    separator = with_protocol(ORACLE.separator, protocol, mask)
    estimates = protocols.whole_estimates(
        shuffled_oracle, separator, None, sources, chunk, stitching
    )
    expected, reordered = independent(sources, chunk, protocol, mask, stitching)
    assert reordered > 0, "the order of slots matters"
    error = 10 * np.log10(np.mean((estimates - expected) ** 2) / np.mean(expected**2))
    assert error < (-30 if mask == "ibm" else -60)  # a cell near a tie may go to the other slot


@pytest.mark.parametrize("way", WAYS)
def test_synthetic_voices_equal_the_definition(way):
    sources = make({"kind": "voices", "sample_rate": 16000}).open_test({}, 1)[0].sources
    compare(sources[:, :52_800], *way)


@pytest.mark.parametrize("way", WAYS[:3])
def test_an_official_mixture_equals_the_definition(speech, way):
    compare(Libri2Mix(speech / "librimix", "test")[0].sources[:, :80_000], *way)
