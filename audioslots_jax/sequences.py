"""Slots that carry over: those of one chunk are the queries of the next (Kipf et al. 2022, SAVi).

A model that is trained on sequences of chunks so learns to keep a voice in its slot.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from audioslots_jax.audio import split
from audioslots_jax.data.batch import Batch
from audioslots_jax.matching import Assign
from audioslots_jax.separator import Estimates, Separator


def carry_over(
    separator: Separator,
    params: Any,
    chunks: Float[Array, "chunk batch length"],
    *,
    gain: Float[Array, ""] | None = None,
    queries: Float[Array, "batch slot embedding"] | None = None,
    key: Key[Array, ""] | None = None,
    unroll: bool = False,
) -> Estimates:
    """Returns estimates of chunks one after the other; each field has an axis of chunks in front.

    The first chunk starts from the ``queries``; without any, as it would alone. With ``unroll``
    every chunk is compiled by itself.
    """
    first: Estimates | None = None
    if queries is None:
        first = separator(params, chunks[0], gain=gain, key=key)
        queries, chunks = first.slots, chunks[1:]

    def following(
        queries: Float[Array, "batch slot embedding"], chunk: Float[Array, "batch length"]
    ) -> tuple[Float[Array, "batch slot embedding"], Estimates]:
        estimates = separator(params, chunk, gain=gain, queries=queries)
        return estimates.slots, estimates

    _, estimates = jax.lax.scan(following, queries, chunks, unroll=unroll)
    if first is None:
        return estimates
    return jax.tree.map(lambda x, rest: jnp.concatenate([x[None], rest]), first, estimates)


@dataclasses.dataclass(frozen=True)
class Sequence:
    """Chunks of a crop, as a recording is cut into them.

    Attributes:
      chunks: their number.
      length: of a chunk, in samples.
      hop: distance between the beginnings of chunks, in samples.
      unroll: compile every chunk by itself.
    """

    chunks: int
    length: int
    hop: int
    unroll: bool = False

    @property
    def samples(self) -> int:
        """Length of the crop."""
        return (self.chunks - 1) * self.hop + self.length

    def estimates(
        self, separator: Separator, params: Any, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Estimates, Batch]:
        """Returns the estimates of all chunks, and the batch that they are to be compared with.

        In both a crop's chunks are rows that follow each other.
        """
        mixture = split(batch.mixture, self.length, self.hop)
        sources = jnp.swapaxes(split(batch.sources, self.length, self.hop), 1, 2)
        chunks = jnp.swapaxes(mixture, 0, 1)
        found = carry_over(separator, params, chunks, key=key, unroll=self.unroll)

        def rows(x: Array) -> Array:
            return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])

        return jax.tree.map(rows, found), Batch(
            mixture.reshape(-1, self.length),
            sources.reshape(-1, *sources.shape[2:]),
            jnp.repeat(batch.present, self.chunks, axis=0),
        )

    def shared(self, assign: Assign) -> Assign:
        """Returns a solver that gives all chunks of a crop one assignment, the best on average."""

        def solve(
            costs: Float[Array, "row source slot"],
        ) -> Int[Array, "row source"]:
            means = jnp.mean(costs.reshape(-1, self.chunks, *costs.shape[1:]), axis=1)
            return jnp.repeat(assign(means), self.chunks, axis=0)

        return solve
