"""Scale-invariant signal-to-noise ratio, in decibels (paper, section 4)."""

import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

LIMIT_DB = 120.0


def si_snr(
    target: Float[Array, "*batch sample"], estimate: Float[Array, "*batch sample"]
) -> Float[Array, "*batch"]:
    """Returns ``10 log10(|a y|^2 / |a y - e|^2)`` with ``a = y.e / |y|^2``, in dB.

    No mean is removed and nothing is added to the energies, unlike in torchmetrics or Asteroid.
    The result is limited to +-120 dB, where float32 ends anyway: an exact estimate gets the upper
    and an all-zero estimate the lower limit, so that means stay finite. An all-zero target has no
    SI-SNR and gives NaN.
    """
    dot = jnp.sum(target * estimate, axis=-1)
    energy = jnp.sum(jnp.square(target), axis=-1)
    scaled = (dot / energy)[..., None] * target
    signal = jnp.sum(jnp.square(scaled), axis=-1)
    noise = jnp.sum(jnp.square(scaled - estimate), axis=-1)
    ratio = 10 * (jnp.log10(signal) - jnp.log10(noise))
    # log10(0) - log10(0) is NaN: an all-zero estimate. A NaN of the target is kept.
    ratio = jnp.where((signal == 0) & (noise == 0), -LIMIT_DB, ratio)
    return jnp.clip(ratio, -LIMIT_DB, LIMIT_DB)


def permuted_si_snr(
    targets: Float[Array, "*batch source sample"],
    estimates: Float[Array, "*batch slot sample"],
) -> tuple[Float[Array, "*batch source"], Int[Array, "*batch source"]]:
    """Returns the SI-SNR of every target under the choice of estimates with the best mean.

    Every target gets an estimate of its own; estimates beyond the number of targets are left over.
    All-zero targets, which have no SI-SNR, give NaN and have no say in the choice.

    Returns:
      The SI-SNR of every target in dB, and the index of the estimate it was matched with.

    Raises:
      ValueError: if there are fewer estimates than targets.
    """
    sources, slots = targets.shape[-2], estimates.shape[-2]
    if slots < sources:
        raise ValueError(f"{slots} estimates are too few for {sources} targets.")
    pairwise = si_snr(*jnp.broadcast_arrays(targets[..., :, None, :], estimates[..., None, :, :]))
    choices = jnp.asarray(list(itertools.permutations(range(slots), sources)), jnp.int32)
    # (*batch, choice, source): the score of each target under each choice.
    scores = pairwise[..., jnp.arange(sources, dtype=jnp.int32), choices]
    sounds = jnp.any(targets != 0, axis=-1)[..., None, :]
    best = jnp.argmax(jnp.sum(jnp.where(sounds, scores, 0.0), axis=-1), axis=-1)
    matched = jnp.take_along_axis(scores, best[..., None, None], axis=-2)[..., 0, :]
    return matched, choices[best]


def si_snr_improvement(
    scores: Float[Array, "*batch source"],
    targets: Float[Array, "*batch source sample"],
    mixture: Float[Array, "*batch sample"],
) -> Float[Array, "*batch source"]:
    """Returns SI-SNRi: each target's score minus the SI-SNR of the unprocessed mixture, in dB."""
    return scores - si_snr(*jnp.broadcast_arrays(targets, mixture[..., None, :]))
