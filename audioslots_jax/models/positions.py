"""Fourier features of the positions on a frequency x time grid (Mildenhall et al. 2020)."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def fourier_features(
    frequency: Float[Array, " frequency"],
    time: Float[Array, " time"],
    frequency_octaves: int,
    time_octaves: int,
) -> Float[Array, "frequency time feature"]:
    """Returns sines and cosines of each cell's position, at octaves of half a period per axis.

    Octave ``k`` is ``sin, cos(pi 2^k x)``, so there are ``2 * (frequency_octaves + time_octaves)``
    features in [-1, 1] per cell. Positions along time are frames over the frames of a training
    crop, so that a frame is the same frame however long the crop is.
    """

    def axis(position: Float[Array, " cell"], octaves: int) -> Float[Array, "cell feature"]:
        phases = jnp.pi * position[:, None] * 2.0 ** jnp.arange(octaves, dtype=jnp.float32)[None]
        return jnp.concatenate([jnp.sin(phases), jnp.cos(phases)], axis=-1)

    grid = (frequency.shape[0], time.shape[0])
    by_frequency, by_time = axis(frequency, frequency_octaves), axis(time, time_octaves)
    by_frequency = jnp.broadcast_to(by_frequency[:, None], (*grid, 2 * frequency_octaves))
    by_time = jnp.broadcast_to(by_time[None], (*grid, 2 * time_octaves))
    return jnp.concatenate([by_frequency, by_time], axis=-1)


def centres(cells: int, stride: int = 1) -> Float[Array, " cell"]:
    """Returns the centres of cells that are ``stride`` wide, from the beginning of the first."""
    return (jnp.arange(cells, dtype=jnp.float32) + 0.5) * stride
