"""Waveforms and spectrograms: pure functions of arrays."""

from audioslots_jax.audio.masks import (
    MASKS,
    apply_masks,
    ideal_binary_mask,
    wiener_like_mask,
)
from audioslots_jax.audio.si_snr import permuted_si_snr, si_snr, si_snr_improvement
from audioslots_jax.audio.spectrogram import compress, expand
from audioslots_jax.audio.stft import STFT

__all__ = [
    "MASKS",
    "STFT",
    "apply_masks",
    "compress",
    "expand",
    "ideal_binary_mask",
    "permuted_si_snr",
    "si_snr",
    "si_snr_improvement",
    "wiener_like_mask",
]
