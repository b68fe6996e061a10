"""The one way from a mixture to its estimates, for decoders of magnitudes and of masks."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import Batch, separator
from audioslots_jax.audio import MASKS, apply_masks, expand
from audioslots_jax.models import Features, Magnitudes, Masks, centres
from tests.tiny import get_config

SAMPLES = 960
MIXTURE = 0.1 * jax.random.normal(jax.random.key(3), (2, SAMPLES))


class PhaseDecoder(nn.Module):
    """Complex masks that turn the mixture's phase by each slot's first value."""

    def __call__(self, slots, size, features=None):
        angle = jnp.broadcast_to(slots[..., :1, None], (*slots.shape[:2], *size))
        return Masks(jnp.complex64(0.5) * jax.lax.complex(jnp.cos(angle), jnp.sin(angle)))


class PlainEncoder(nn.Module):
    """The magnitudes of the mixture, as they are."""

    def __call__(self, mixture):
        return Features(jnp.abs(mixture)[..., None], centres(mixture.shape[2]), {})


@functools.cache
def made(mask="wiener", **parts):
    config = get_config()
    config.eval.mask = mask
    built = separator.build(config, SAMPLES)
    parts = {name: part() for name, part in parts.items()}
    built = dataclasses.replace(built, model=built.model.clone(**parts))
    return built, jax.jit(built.init, static_argnums=1)(jax.random.key(0), SAMPLES)


@pytest.mark.parametrize("mask", list(MASKS))
def test_magnitudes_become_masks_of_the_mixture(mask):
    built, params = made(mask)
    estimates = jax.jit(built)(params, MIXTURE)
    masks = MASKS[mask](expand(estimates.magnitudes, 0.3))
    np.testing.assert_allclose(estimates.masks, masks, atol=1e-6)
    spectrogram = built.front_end.spectrogram(MIXTURE)
    expected = built.front_end.waveform(apply_masks(masks, spectrogram), SAMPLES)
    np.testing.assert_allclose(estimates.waveforms, expected, atol=1e-5)
    np.testing.assert_allclose(estimates.waveforms.sum(axis=1), MIXTURE, atol=1e-5)
    unmixed = built.unmix(MIXTURE, Magnitudes(estimates.magnitudes))
    np.testing.assert_allclose(unmixed, estimates.waveforms, atol=1e-5)


def test_complex_masks_multiply_the_mixture():
    """A constant phase of p and a half are the waveform's (cos p) / 2 and its Hilbert partner's."""
    built, params = made(decoder=PhaseDecoder)
    estimates = jax.jit(built)(params, MIXTURE)
    assert jnp.iscomplexobj(estimates.masks)
    spectrogram = built.front_end.spectrogram(MIXTURE)[:, None]
    phases = np.exp(1j * np.asarray(estimates.slots[:, :, 0]))[:, :, None, None]
    turned = (0.5 * phases * np.asarray(spectrogram)).astype(np.complex64)
    expected = built.front_end.waveform(jnp.asarray(turned), SAMPLES)
    np.testing.assert_allclose(estimates.waveforms, expected, atol=1e-5)
    # Their compressed magnitudes are offered as well, with a gradient that is finite in silence.
    half = 0.5**0.3 * built.front_end.magnitudes(MIXTURE)
    np.testing.assert_allclose(
        estimates.magnitudes, jnp.stack([half, half], axis=1), rtol=1e-3, atol=1e-3
    )
    gradient = jax.jit(jax.grad(lambda p: built(p, 0 * MIXTURE).magnitudes.sum()))(params)
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(gradient))


def test_a_gain_is_what_the_model_hears_and_not_what_comes_out():
    built, params = made(encoder=PlainEncoder)
    separate = jax.jit(built)
    plain = separate(params, MIXTURE)
    soft = separate(params, MIXTURE / 100, gain=jnp.float32(100.0))
    np.testing.assert_allclose(100 * soft.waveforms, plain.waveforms, atol=1e-5)
    np.testing.assert_allclose(soft.named["grid"], plain.named["grid"], rtol=1e-4)
    unheard = separate(params, MIXTURE / 100)
    np.testing.assert_allclose(unheard.named["grid"], 0.01**0.3 * plain.named["grid"], rtol=1e-4)


def test_silence_is_silent_and_finite():
    built, params = made()
    estimates = jax.jit(built)(params, jnp.zeros((1, SAMPLES)))
    np.testing.assert_array_equal(estimates.waveforms, np.zeros((1, 2, SAMPLES)))
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(estimates))


def test_each_source_alone_is_a_mixture_of_its_own():
    sources = np.random.default_rng(0).normal(size=(3, 2, 5)).astype(np.float32)
    batch = Batch.of(sources)
    np.testing.assert_array_equal(batch.mixture, sources[:, 0] + sources[:, 1])
    alone = batch.alone()
    np.testing.assert_array_equal(alone.mixture, sources.reshape(6, 5))
    np.testing.assert_array_equal(alone.sources[:, 0], alone.mixture)
    assert alone.present.shape == (6, 1)
