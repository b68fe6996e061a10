import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.audio import MASKS, STFT, apply_masks, ideal_binary_mask, wiener_like_mask


def magnitudes(slots, seed=0):
    draws = np.random.default_rng(seed).normal(size=(2, slots, 5, 6))
    return jnp.asarray(np.abs(draws), jnp.float32)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_masks_follow_their_definitions(slots):
    e = magnitudes(slots)
    wiener = e**2 / jnp.sum(e**2, axis=1, keepdims=True)
    np.testing.assert_allclose(wiener_like_mask(e), wiener, rtol=1e-5)
    binary = np.arange(slots)[None, :, None, None] == np.asarray(jnp.argmax(e, axis=1))[:, None]
    np.testing.assert_array_equal(ideal_binary_mask(e), binary)


@pytest.mark.parametrize("mask", list(MASKS))
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e30])
def test_masks_share_out_everything_at_any_level(mask, scale):
    masks = MASKS[mask](magnitudes(3) * scale)
    np.testing.assert_allclose(jnp.sum(masks, axis=1), np.ones((2, 5, 6)), rtol=1e-5)


@pytest.mark.parametrize("mask", list(MASKS))
def test_masks_are_equivariant_in_the_slots(mask):
    e, order = magnitudes(3), np.array([2, 0, 1])
    np.testing.assert_allclose(MASKS[mask](e[:, order]), MASKS[mask](e)[:, order], rtol=1e-6)


def test_masked_sources_sum_to_the_mixture_and_nyquist_copies_its_neighbour():
    mixture = jnp.asarray(np.random.default_rng(0).normal(size=(2, 800)), jnp.float32)
    stft = STFT(64, 16)
    spectrogram = jax.jit(stft)(mixture)
    e = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 2, 32, 50)), jnp.float32)
    masks = wiener_like_mask(e)
    sources = apply_masks(masks, spectrogram)
    np.testing.assert_allclose(
        sources[:, :, -1],
        np.asarray(masks)[:, :, -1] * np.asarray(spectrogram)[:, None, -1],
        rtol=1e-5,
    )
    waveforms = jax.jit(stft.inverse, static_argnums=1)(sources, 800)
    np.testing.assert_allclose(np.sum(waveforms, axis=1), mixture, atol=1e-5)
