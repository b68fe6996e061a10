"""AudioSlots: encoder -> slot module -> decoder (Reddy et al. 2023, section 2)."""

from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from audioslots_jax.models.attention import SlotOutputs


class Outputs(NamedTuple):
    """Everything a researcher may want to look at; jit drops what is not used.

    Attributes:
      features: the encoder's features by name, each (batch, frequency, time, channel).
      grid: the last of them, which the slot module reads.
      slots: one embedding per source, in no particular order.
      attention: the slot module's weights from slots to grid cells, by layer.
      spectrograms: estimated power-compressed magnitudes, one per slot.
    """

    features: dict[str, Array]
    grid: Float[Array, "batch grid_frequency grid_time channel"]
    slots: Float[Array, "batch slot embedding"]
    attention: Float[Array, "layer batch head slot grid_frequency grid_time"]
    spectrograms: Float[Array, "batch slot frequency time"]


class AudioSlots(nn.Module):
    """A mixture's spectrogram to an unordered set of source spectrograms.

    Attributes:
      encoder: maps (batch, frequency, time) to the features of every stage by name, in order.
      slot_module: maps features, and queries if any are given, to `SlotOutputs`.
      decoder: maps slots, a (frequency, time) size and the features to a spectrogram per slot.
    """

    encoder: nn.Module
    slot_module: nn.Module
    decoder: nn.Module

    def __call__(
        self,
        spectrogram: Float[Array, "batch frequency time"],
        queries: Float[Array, "batch slot embedding"] | None = None,
    ) -> Outputs:
        """Estimates of the sources.

        Args:
          spectrogram: power-compressed magnitudes of the mixture, >= 0.
          queries: where the slots start from, in place of the learned queries.
        """
        features = self.encoder(spectrogram)
        grid = list(features.values())[-1]
        found: SlotOutputs = self.slot_module(features, queries)
        _, frequencies, times = spectrogram.shape
        spectrograms = self.decode(found.slots, (frequencies, times), features)
        return Outputs(features, grid, found.slots, found.attention, spectrograms)

    def decode(
        self,
        slots: Float[Array, "batch slot embedding"],
        size: tuple[int, int],
        features: dict[str, Array] | None = None,
    ) -> Float[Array, "batch slot frequency time"]:
        """Spectrograms of given slots at any ``size`` (frequency bins, frames)."""
        return self.decoder(slots, size, features)
