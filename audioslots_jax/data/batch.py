"""What every data set delivers: batches of mixtures with their sources.

The rule from (seed, step) to a batch is a pure function of its arguments (and of the recordings on
disk): the same on every host, for any number of workers and after any restart.
"""

import abc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32

# A training's seed is below this one, which addresses held-out mixtures.
HELD_OUT_SEED = 2**32 - 1


class Batch(NamedTuple):
    """Mixtures and what they are made of; on the host in numpy, on devices in JAX.

    Attributes:
      mixture: what is heard. It need not be the sum of the sources: there may be noise as well.
      sources: at the level they have in the mixture; silent where one does not exist.
      present: which sources exist.
    """

    mixture: Float[Any, "batch sample"]
    sources: Float[Any, "batch source sample"]
    present: Bool[Any, "batch source"]

    @classmethod
    def of(cls, sources: Float32[np.ndarray, "batch source sample"]) -> "Batch":
        """Returns the batch whose mixtures are the sums of the given sources, all present."""
        return cls(sources.sum(axis=1), sources, np.ones(sources.shape[:2], bool))

    def alone(self) -> "Batch":
        """Returns a batch of (batch x source) mixtures that hold one source each."""
        each = self.sources.reshape(-1, 1, self.sources.shape[-1])
        return Batch(each[:, 0], each, self.present.reshape(-1, 1))

    def hidden(self) -> "Batch":
        """Returns the mixtures without any source."""
        sources = self.mixture[:, None] * 0
        return Batch(self.mixture, sources, self.present[:, :1] & False)

    def in_pairs(self) -> "Batch":
        """Returns the sums of neighbouring mixtures, whose "sources" are these mixtures.

        It reads no source. The last of an odd number of mixtures is left out.
        """
        parts = self.mixture[: len(self.mixture) // 2 * 2]
        parts = parts.reshape(-1, 2, parts.shape[-1])
        everywhere = self.present[: len(parts), :1] | True
        return Batch(parts.sum(axis=1), parts, everywhere.repeat(2, axis=1))


class Whole(NamedTuple):
    """A whole mixture to score a model on: its name, what is heard, and the sources that exist."""

    name: str
    mixture: Float32[np.ndarray, " sample"]
    sources: Float32[np.ndarray, "source sample"]


@runtime_checkable
class Mixtures(Protocol):
    """A source of batches of crops of one length."""

    def batch(self, seed: int, step: int, rows: range, batch_size: int) -> Batch:
        """Returns rows of a step's batch of ``batch_size`` rows; each host asks for its own."""


@runtime_checkable
class Named(Protocol):
    """`Mixtures` that know who is heard."""

    def names(self, seed: int, step: int, row: int, batch_size: int) -> tuple[str, ...]:
        """Returns who the sources of a row are; none where nobody is heard more than once."""


class RowByRow(abc.ABC):
    """`Mixtures` that are sums of sources and are made one at a time."""

    @abc.abstractmethod
    def example(self, seed: int, step: int, row: int) -> Float32[np.ndarray, "source sample"]:
        """Returns the sources of one row of the batch of ``step``."""

    def names(self, seed: int, step: int, row: int, batch_size: int) -> tuple[str, ...]:
        """Returns who the sources of a row are; see `Named`."""
        return ()

    def batch(self, seed: int, step: int, rows: range, batch_size: int) -> Batch:
        """Returns rows of the batch of a step; see `Mixtures`."""
        return Batch.of(np.stack([self.example(seed, step, row) for row in rows]))


# Names of the voices or speakers that a run never trains on, by "validation" and "test".
HeldOut = Mapping[str, Sequence[str]]


class Data(NamedTuple):
    """The data of a training.

    Attributes:
      train: crops to train on.
      validation: crops that training never draws; they choose the best checkpoint.
      held_out: who must stay out of the training for as long as the run lives. It is kept in the
        workdir and given to `DataSet.open` and `DataSet.open_test` ever after; empty where the data
        set has a division of its own.
      fingerprint: changes with the recordings examples are drawn from, not with where they lie.
      longer: validation mixtures of `wholes.HEARD_SECONDS`, to listen to, if there are any.
      speaker_lists: files that may say the sexes of validation speakers, by speaker; see
        `sexes.read_sexes`. Training needs none, so they are read by who asks.
    """

    train: Mixtures
    validation: Mixtures
    held_out: HeldOut
    fingerprint: str
    longer: Mixtures | None = None
    speaker_lists: Mapping[str, Path] = {}


@runtime_checkable
class DataSet(Protocol):
    """The section ``data`` of a config, as a dataclass; its fields are that section's fields.

    The sampling rate is in Hz, ``sources`` the most in a mixture, ``workers`` the threads that make
    batches.
    """

    sample_rate: int
    crop_seconds: float
    sources: int
    workers: int

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields every field that cannot have its value, and what it must be."""

    def open(self, held_out: HeldOut | None = None) -> Data:
        """Opens the data of a training; ``held_out`` is what the run remembers, if it does.

        Raises:
          UserError: if there are no recordings to train on, or too few speakers.
        """

    def open_test(self, held_out: HeldOut, count: int) -> Sequence[Whole]:
        """Opens whole mixtures of what is neither trained on nor used to choose a checkpoint.

        They are ``count``, where the data set does not have a list of its own.

        Raises:
          UserError: if the recordings cannot be found.
        """


def crop_samples(data: Any) -> int:
    """Returns the length of a crop in samples, from ``crop_seconds`` and ``sample_rate``."""
    return round(data.crop_seconds * data.sample_rate)
