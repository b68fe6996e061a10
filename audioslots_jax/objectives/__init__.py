"""What is learned: estimates and the truth to a loss per mixture, by name and weight."""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float

from audioslots_jax import fields
from audioslots_jax.data.batch import Batch
from audioslots_jax.matching import Assign
from audioslots_jax.objectives.affinity import Affinity
from audioslots_jax.objectives.matched_magnitude import MatchedMagnitude, pairwise_mse
from audioslots_jax.objectives.matched_snr import MatchedSNR
from audioslots_jax.objectives.mixit import MixIT
from audioslots_jax.objectives.mixture_magnitude import MixtureMagnitude
from audioslots_jax.objectives.presence import Presence
from audioslots_jax.objectives.speaker_contrast import SpeakerContrast, with_other_partners
from audioslots_jax.separator import Estimates, FrontEnd


@runtime_checkable
class Objective(Protocol):
    """A dataclass of the fields of its section, and a ``front_end`` if it compares spectrograms.

    What it ``needs`` is ``"sources"`` if it does not say so; ``"partners"`` for one that compares
    voices with themselves beside others (`with_other_partners`); ``"pairs"`` for one that learns
    from sums of mixtures (`Batch.in_pairs`), ``"mixture"`` for one that reads nothing else. The
    last two are never shown a source.
    """

    def __call__(
        self, estimates: Estimates, batch: Batch, assign: Assign
    ) -> Float[Array, " batch"]:
        """Returns the loss of every mixture."""


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "matched_magnitude": MatchedMagnitude,
    "matched_snr": MatchedSNR,
    "affinity": Affinity,
    "presence": Presence,
    "mixit": MixIT,
    "mixture_magnitude": MixtureMagnitude,
    "speaker_contrast": SpeakerContrast,
}


@dataclasses.dataclass(frozen=True)
class Objectives:
    """A sum of objectives.

    Attributes:
      parts: every objective with its weight.
      assign: the solver of their matching.
    """

    parts: tuple[tuple[float, Objective], ...]
    assign: Assign

    def __call__(self, estimates: Estimates, batch: Batch) -> Float[Array, " batch"]:
        """Returns the loss of every mixture."""
        with jax.named_scope("objectives"):
            losses = [w * part(estimates, batch, self.assign) for w, part in self.parts]
        return sum(losses[1:], losses[0])

    def that_need(self, what: str) -> "Objectives":
        """Returns those that need ``"sources"``, ``"partners"``, ``"pairs"`` or a ``"mixture"``."""
        parts = ((w, part) for w, part in self.parts if getattr(part, "needs", "sources") == what)
        return Objectives(tuple(parts), self.assign)


def build(config: fields.Section, front_end: FrontEnd, assign: Assign) -> Objectives:
    """Returns the objectives of a config.

    Args:
      config: for each objective its ``weight``, 1 by default, and its own fields.
      front_end: what the model sees.
      assign: the solver of their matching.

    Raises:
      UserError: for a name or a field that cannot be.
    """
    fields.require(config, "objectives", dict(config), f"must name some of {', '.join(OBJECTIVES)}")
    parts = []
    for name, section in config.items():
        where, names = f"objectives.{name}", ", ".join(OBJECTIVES)
        fields.require(name in OBJECTIVES, where, dict(section), f"must be a section of {names}")
        own = dict(section)
        weight = own.pop("weight", 1.0)
        problem = fields.mismatch(weight, float)
        fields.require(not problem, f"{where}.weight", weight, problem)
        part = fields.make_section(OBJECTIVES[name], own, where, front_end=front_end)
        parts.append((float(weight), part))
    return Objectives(tuple(parts), assign)


__all__ = [
    "OBJECTIVES", "Objective", "Objectives", "build", "pairwise_mse", "with_other_partners",
]  # fmt: skip
