"""What the parts of a model hand to each other; any of them can be exchanged by name.

encoder:      (compressed complex mixture)                 -> Features
slot module:  (Features, queries, key)                     -> Slots
decoder:      (slots, (frequency bins, frames), Features)  -> Magnitudes or Masks
"""

from collections.abc import Mapping
from typing import NamedTuple

from jaxtyping import Array, Float, Inexact

from audioslots_jax.errors import UserError


class Features(NamedTuple):
    """What an encoder makes of a mixture.

    Attributes:
      grid: what the slot module reads; of an encoder of frames, with one frequency.
      frames: the centre of every column of the grid, in frames of the STFT from its beginning.
      named: whatever else may be worth a look, by name.
    """

    grid: Float[Array, "batch grid_frequency grid_time channel"]
    frames: Float[Array, " grid_time"]
    named: Mapping[str, Array]


def only_frames(features: Features) -> Float[Array, "batch time channel"]:
    """Returns the grid of an encoder of frames.

    Raises:
      UserError: if the encoder's grid has several frequencies.
    """
    if features.grid.shape[1] != 1:
        raise UserError(
            "the slot module and the decoder of config.model need an encoder of frames, such as "
            "--config.model.encoder.name=frames; this one's grid has several frequencies."
        )
    return features.grid[:, 0]


class Slots(NamedTuple):
    """What a slot module makes of them.

    Attributes:
      slots: source embeddings, in no particular order.
      attention: weights of every layer from slots to grid cells, where there are any.
      passed: how much of every frame passed into a slot, where slots are gates; not negative, and
        not made to add up to anything.
    """

    slots: Float[Array, "batch slot embedding"]
    attention: Float[Array, "batch layer head slot grid_frequency grid_time"] | None = None
    passed: Float[Array, "batch slot grid_time"] | None = None


class Magnitudes(NamedTuple):
    """A decoder's estimates of compressed magnitudes; negative ones count as zero."""

    values: Float[Array, "batch slot frequency time"]


class Masks(NamedTuple):
    """A decoder's masks, real or complex, which multiply the mixture's spectrogram."""

    values: Inexact[Array, "batch slot frequency time"]
