"""What the network sees: power-compressed magnitudes without the Nyquist bin.

The paper (section 3) raises the magnitude of the complex spectrogram to the power 0.3. Dropping the
last of 257 bins makes the encoder's 32 x 8 grid exact (the paper does not say how it got there).
"""

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

POWER = 0.3


def compress(
    spectrogram: Complex[Array, "*batch bins time"], power: float = POWER
) -> Float[Array, "*batch frequency time"]:
    """``|spectrogram| ** power`` of all bins but the last (Nyquist). Values are >= 0."""
    return jnp.abs(spectrogram[..., :-1, :]) ** power


def expand(
    magnitudes: Float[Array, "*batch frequency time"], power: float = POWER
) -> Float[Array, "*batch frequency time"]:
    """Inverse of the power compression; negative estimates count as zero."""
    return jnp.maximum(magnitudes, 0) ** (1 / power)
