"""Optimisers by name, and the schedule of their learning rate."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import optax
from ml_collections import ConfigDict
from optax import contrib

from audioslots_jax import fields


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015), the paper's.

    Attributes:
      b1, b2: decays of the moments.
    """

    b1: float = 0.9
    b2: float = 0.999

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from _decays(self, "b1", "b2")

    def build(self, learning_rate: optax.Schedule) -> optax.GradientTransformation:
        """Returns the optimiser."""
        return optax.adam(learning_rate, b1=self.b1, b2=self.b2)


@dataclasses.dataclass(frozen=True)
class Muon:
    """Muon (Jordan et al. 2024) for kernels of layers, Adam with Nesterov momentum for the rest.

    Attributes:
      beta: decay of Muon's momentum.
      consistent_rms: RMS of Muon's updates over the learning rate, so that kernels of all shapes,
        and Adam's parameters, share one learning rate (Liu et al. 2025).
      iterations: Newton-Schulz iterations of every update; small models spend a third of a step in
        five of them.
    """

    beta: float = 0.95
    consistent_rms: float = 0.2
    iterations: int = 5

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from fields.positive(self, "consistent_rms", "iterations")
        yield from _decays(self, "beta")

    def build(self, learning_rate: optax.Schedule) -> optax.GradientTransformation:
        """Returns the optimiser."""
        return contrib.muon(
            learning_rate,
            beta=self.beta,
            consistent_rms=self.consistent_rms,
            ns_steps=self.iterations,
            muon_weight_dimension_numbers=kernels,
        )


OPTIMIZERS: dict[str, Callable[..., Any]] = {"adam": Adam, "muon": Muon}


def build(config: ConfigDict) -> optax.GradientTransformation:
    """Returns the optimiser of a complete config.

    With ``train.clip_norm`` above 0, gradients are clipped to that global norm first.

    Raises:
      UserError: for a name or a field that cannot be.
    """
    part = fields.make(OPTIMIZERS, config.optimizer, "optimizer")
    optimizer: optax.GradientTransformation = part.build(make_schedule(config))
    clip = config.train.clip_norm
    return optax.chain(optax.clip_by_global_norm(clip), optimizer) if clip else optimizer


def make_schedule(config: ConfigDict) -> optax.Schedule:
    """Returns linear warm-up, then cosine decay to zero at the last step (paper, section 3).

    A run with fewer steps than the warm-up ends in the middle of it.
    """
    warmup = config.train.warmup_steps
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.train.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(config.train.steps, warmup + 1),
    )


def kernels(params: Any) -> Any:
    """Returns for every parameter the axes of the matrix it is, and None if it is none.

    The kernels of dense layers and convolutions are matrices from what is summed over to the
    outputs, which are the last axis; those of attention heads have two axes of outputs.
    """

    def axes(path: tuple[Any, ...], array: jax.Array) -> contrib.MuonDimensionNumbers | None:
        names = [key.key for key in path]
        if names[-1] != "kernel" or array.ndim < 2:
            return None
        outputs = 2 if array.ndim == 3 and names[-2] in ("query", "key", "value") else 1
        split = array.ndim - outputs
        return contrib.MuonDimensionNumbers(tuple(range(split)), tuple(range(split, array.ndim)))

    return jax.tree.map_with_path(axes, params)


def _decays(part: Any, *names: str) -> list[tuple[str, str]]:
    return [(n, "must be from 0 to below 1") for n in names if not 0 <= getattr(part, n) < 1]
