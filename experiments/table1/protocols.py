"""The protocols of the paper's Table 1: estimates of whole mixtures by what knows the truth.

What its rows differ in is where the magnitudes come from that masks are made of: the true sources
(`oracle`), an `autoencoder` that is shown each of them alone, or a `network` that sees the mixture.
Chunks are stitched by the truth, as in the paper (section 3), or blindly; a `RecordingSeparator` is
a network stitched blindly, at a level of its own.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from audioslots_jax.audio.chunks import Chunk, blind_hop, continue_order, order_like, reorder
from audioslots_jax.inference.stitching import stitch
from audioslots_jax.models import Magnitudes
from audioslots_jax.separator import Separator

Sources = Float[Array, "chunk source length"]
Estimate = Callable[[Separator, Any, Sources], Sources]


def oracle(separator: Separator, params: Any, sources: Sources) -> Sources:
    """Returns chunks of the mixture through masks of the true sources: the ceiling of masks."""
    magnitudes = separator.front_end.magnitudes(sources)
    return separator.unmix(jnp.sum(sources, axis=1), Magnitudes(magnitudes))


def autoencoder(separator: Separator, params: Any, sources: Sources) -> Sources:
    """Returns chunks of the mixture through masks of `reconstructions`: their ceiling."""
    magnitudes = reconstructions(separator, params, sources)
    return separator.unmix(jnp.sum(sources, axis=1), Magnitudes(magnitudes))


def reconstructions(
    separator: Separator, params: Any, sources: Sources
) -> Float[Array, "chunk source frequency time"]:
    """Returns compressed magnitudes of the sources, each seen alone by a network of one slot."""
    each = jnp.swapaxes(sources, 0, 1)
    magnitudes = jax.lax.map(lambda source: separator(params, source).magnitudes[:, 0], each)
    return jnp.swapaxes(magnitudes, 0, 1)


def network(separator: Separator, params: Any, sources: Sources) -> Sources:
    """Returns what a network makes of chunks of the mixture, at the level that they have."""
    return separator(params, jnp.sum(sources, axis=1)).waveforms


def whole_estimates(
    estimate: Estimate,
    separator: Separator,
    params: Any,
    sources: Float32[np.ndarray, "source sample"],
    chunk: int,
    stitching: Literal["oracle", "blind"],
) -> Float32[np.ndarray, "source sample"]:
    """Returns estimates of whole sources.

    Args:
      estimate: makes estimates of the sources of chunks.
      separator: its first argument.
      params: its second one.
      sources: whole; the mixture is their sum.
      chunk: length of a chunk in samples.
      stitching: ``oracle``: chunks do not overlap, and take the order that fits the truth best;
        ``blind``: they overlap, and each continues the order of the one before.
    """
    hop = chunk if stitching == "oracle" else blind_hop(chunk)
    previous = Chunk(jnp.zeros((len(sources), chunk)), jnp.zeros((len(sources), 1)))

    def process(chunks: Float32[np.ndarray, "chunk source length"]) -> Array:
        nonlocal previous
        ordered, previous = _ordered(estimate, separator, hop, params, chunks, previous)
        return ordered[:, :, None]

    return np.concatenate(list(stitch(process, [sources], chunk, hop)), axis=-1)[:, 0]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _ordered(
    estimate: Estimate,
    separator: Separator,
    hop: int,
    params: Any,
    sources: Sources,
    previous: Chunk,
) -> tuple[Sources, Chunk]:
    estimates = estimate(separator, params, sources)
    if hop == sources.shape[2]:
        return reorder(estimates, order_like(estimates, sources)), previous
    no_embeddings = jnp.zeros((*estimates.shape[:2], 1))
    ordered, _, last = continue_order(
        previous, estimates, no_embeddings, hop, separator.front_end.stft
    )
    return ordered, last
