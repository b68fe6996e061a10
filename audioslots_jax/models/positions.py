"""Fourier features of the positions on a frequency x time grid (Mildenhall et al. 2020)."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def fourier_features(
    frequencies: int, times: int, frequency_octaves: int, time_octaves: int
) -> Float[Array, "frequency time feature"]:
    """Sines and cosines of each cell's centre, at octaves of half a period per axis.

    Computed from the size of the grid alone, so the same weights serve any size: an axis of ``n``
    cells has its centres at ``(i + 0.5) / n``, and octave ``k`` is ``sin, cos(pi 2^k x)``. Octave
    ``k`` changes fastest over ``n / 2^k`` cells, so ``log2(n)`` octaves resolve single cells.

    Returns:
      ``2 * (frequency_octaves + time_octaves)`` features in [-1, 1] per cell.
    """

    def axis(cells: int, octaves: int) -> Float[Array, "cell feature"]:
        centres = (jnp.arange(cells, dtype=jnp.float32) + 0.5) / cells
        phases = jnp.pi * centres[:, None] * 2.0 ** jnp.arange(octaves, dtype=jnp.float32)[None]
        return jnp.concatenate([jnp.sin(phases), jnp.cos(phases)], axis=-1)

    by_frequency = axis(frequencies, frequency_octaves)[:, None, :]
    by_time = axis(times, time_octaves)[None, :, :]
    grid = (frequencies, times)
    return jnp.concatenate(
        [
            jnp.broadcast_to(by_frequency, (*grid, 2 * frequency_octaves)),
            jnp.broadcast_to(by_time, (*grid, 2 * time_octaves)),
        ],
        axis=-1,
    )
