"""What the network sees: power-compressed spectrograms without the Nyquist bin.

The paper (section 3) raises the magnitude of the complex spectrogram to the power 0.3. Dropping the
last of 257 bins makes the encoder's 32 x 8 grid exact (the paper does not say how it got there).
"""

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

POWER = 0.3


def compress(
    spectrogram: Complex[Array, "*batch bins time"], power: float = POWER
) -> Float[Array, "*batch frequency time"]:
    """Returns ``|spectrogram| ** power`` of all bins but the last (Nyquist). Values are >= 0."""
    return jnp.abs(spectrogram[..., :-1, :]) ** power


def compress_complex(
    spectrogram: Complex[Array, "*batch bins time"], power: float = POWER
) -> Complex[Array, "*batch frequency time"]:
    """Returns the spectrogram with the magnitudes of `compress` and its own phases."""
    cells = spectrogram[..., :-1, :]
    magnitudes = jnp.abs(cells)
    sounds = magnitudes > 0
    factors = jnp.where(sounds, jnp.where(sounds, magnitudes, 1.0) ** (power - 1), 0.0)
    return cells * factors.astype(cells.dtype)


def expand(
    magnitudes: Float[Array, "*batch frequency time"], power: float = POWER
) -> Float[Array, "*batch frequency time"]:
    """Returns the inverse of the power compression; negative estimates count as zero."""
    return jnp.maximum(magnitudes, 0) ** (1 / power)
