"""Whole mixtures, to score a trained model on."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from audioslots_jax.data.batch import HELD_OUT_SEED, Mixtures, Whole

WHOLE_SECONDS = 10.0  # of every mixture (AudioSlots paper, section 3)
HEARD_SECONDS = 6.0  # of one on a page, which the paper's network takes apart while somebody waits


@dataclasses.dataclass(frozen=True)
class Wholes(Sequence[Whole]):
    """Whole mixtures in a fixed order, each made of its index when it is asked for."""

    indices: range
    make: Callable[[int], Whole]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        """Returns a mixture, or a list of them for a slice."""
        chosen = self.indices[index]
        return self.make(chosen) if isinstance(chosen, int) else [*map(self.make, chosen)]


def heard_samples(crop: int, sample_rate: int) -> int:
    """Returns the samples of mixtures to listen to, at a rate in Hz: no fewer than a crop has."""
    return max(crop, round(HEARD_SECONDS * sample_rate))


def held_out_wholes(mixtures: Mixtures, name: str, count: int) -> Wholes:
    """Returns the first ``count`` held-out mixtures, called ``name-0``, ``name-1`` and so on."""

    def make(index: int) -> Whole:
        batch = mixtures.batch(HELD_OUT_SEED, index, range(1), 1)
        present = np.asarray(batch.present[0])
        sources = np.asarray(batch.sources[0])[present]
        return Whole(f"{name}-{index}", np.asarray(batch.mixture[0]), sources)

    return Wholes(range(count), make)
