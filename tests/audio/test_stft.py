"""The transform against a direct float64 implementation, and what comes back of a waveform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.audio import STFT, compress

SIZES = [(512, 125, 8000), (512, 125, 16000), (256, 128, 4000), (64, 16, 333), (32, 8, 40)]


forward = jax.jit(STFT.__call__, static_argnums=0)
inverse = jax.jit(STFT.inverse, static_argnums=(0, 2))


def waveform(samples, seed=0):
    return np.random.default_rng(seed).normal(size=(2, samples)).astype(np.float32)


def direct_stft(wave, window, hop, front):
    """Frame by frame, as the definition says, in float64."""
    hann = 0.5 * (1 - np.cos(2 * np.pi * np.arange(window) / window))
    frames = int(np.ceil(len(wave) / hop))
    padded = np.concatenate([np.zeros(front), wave, np.zeros(2 * window)])
    return np.stack(
        [np.fft.rfft(hann * padded[t * hop : t * hop + window]) for t in range(frames)], axis=1
    )


@pytest.mark.parametrize("edges", ["centred", "chunk_edge"])
@pytest.mark.parametrize(("window", "hop", "samples"), SIZES)
def test_equals_definition(window, hop, samples, edges):
    waves = waveform(samples)
    spectrogram = forward(STFT(window, hop, edges), waves)
    front = window // 2 if edges == "centred" else 0
    expected = np.stack([direct_stft(wave, window, hop, front) for wave in waves])
    assert spectrogram.shape == expected.shape == (2, window // 2 + 1, -(-samples // hop))
    np.testing.assert_allclose(spectrogram, expected, atol=1e-5 * window)


@pytest.mark.parametrize(("window", "hop", "samples"), SIZES)
def test_centred_reconstructs_every_sample(window, hop, samples):
    waves = waveform(samples)
    stft = STFT(window, hop, "centred")
    np.testing.assert_allclose(inverse(stft, forward(stft, waves), samples), waves, atol=2e-5)


@pytest.mark.parametrize("samples", [1003, 1010, 1017, 1024, 1027])
def test_masks_do_not_click_at_the_end_of_a_chunk(samples):
    """At half a window's hop the last sample may lie where the window all but vanishes."""
    waves = waveform(samples)
    stft = STFT(256, 128, "centred")
    spectrogram = np.asarray(forward(stft, waves))
    masks = np.random.default_rng(1).uniform(size=spectrogram.shape).astype(np.float32)
    back = inverse(stft, spectrogram * masks, samples)
    assert np.max(np.abs(back)) < 2 * np.max(np.abs(waves))
    whole = inverse(stft, spectrogram, samples)
    np.testing.assert_allclose(whole[:, :-64], waves[:, :-64], atol=2e-5)


@pytest.mark.parametrize(("window", "hop", "samples"), SIZES)
def test_chunk_edge_reconstructs_after_the_first_frames(window, hop, samples):
    waves = waveform(samples)
    stft = STFT(window, hop, "chunk_edge")
    back = np.asarray(inverse(stft, forward(stft, waves), samples))
    np.testing.assert_allclose(back[:, window - hop :], waves[:, window - hop :], atol=2e-5)
    # What is missing at the edge is energy, not only precision.
    assert np.sum(back[:, :hop] ** 2) < 0.5 * np.sum(waves[:, :hop] ** 2)


def test_chunk_edge_uses_the_window_dual_to_endless_frames():
    """The inverse of a lone frame is that frame times window / sum of squared shifted windows."""
    window, hop = 512, 125
    frame = np.zeros((257, 1), np.complex64)
    frame[3] = 1 + 2j
    back = STFT(window, hop, "chunk_edge").inverse(jnp.asarray(frame), window)
    hann = 0.5 * (1 - np.cos(2 * np.pi * np.arange(window) / window))
    endless = np.zeros(window + 40 * hop)
    for shift in range(-20, 21):
        start = 20 * hop + shift * hop
        endless[start : start + window] += (hann**2)[: len(endless) - start]
    expected = np.fft.irfft(frame[:, 0]) * hann / endless[20 * hop :][:window]
    np.testing.assert_allclose(back, expected, atol=1e-8)


@pytest.mark.parametrize(("seconds", "frames"), [(0.5, 64), (1.0, 128)])
def test_paper_sizes(seconds, frames):
    samples = round(seconds * 16000)
    spectrogram = jax.eval_shape(lambda x: compress(STFT()(x)), waveform(samples))
    assert spectrogram.shape == (2, 256, frames)
