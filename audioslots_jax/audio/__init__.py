"""Waveforms and spectrograms: pure functions of arrays."""

from audioslots_jax.audio.chunks import blind_order, order_like, reorder, split
from audioslots_jax.audio.masks import MASKS, apply_masks, ideal_binary_mask, wiener_like_mask
from audioslots_jax.audio.si_snr import permuted_si_snr, si_snr, si_snr_improvement
from audioslots_jax.audio.spectrogram import compress, compress_complex, expand
from audioslots_jax.audio.stft import STFT

__all__ = [
    "MASKS",
    "STFT",
    "apply_masks",
    "blind_order",
    "compress",
    "compress_complex",
    "expand",
    "ideal_binary_mask",
    "order_like",
    "permuted_si_snr",
    "reorder",
    "si_snr",
    "si_snr_improvement",
    "split",
    "wiener_like_mask",
]
