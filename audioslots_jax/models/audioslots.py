"""AudioSlots: encoder -> slot module -> decoder (Reddy et al. 2023, section 2)."""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Complex, Float, Key

from audioslots_jax.models.interface import Features, Magnitudes, Masks, Slots


class Outputs(NamedTuple):
    """Everything a researcher may want to look at; jit drops what is not used.

    Attributes:
      slots: one embedding per slot, in no particular order.
      decoded: what the decoder made of them.
      named: the encoder's features by name, the ``"grid"`` that the slot module reads and, where
        the slot module has them, its ``"attention"`` and what ``"passed"`` its gates.
    """

    slots: Float[Array, "batch slot embedding"]
    decoded: Magnitudes | Masks
    named: Mapping[str, Array]


class AudioSlots(nn.Module):
    """A mixture's spectrogram to an unordered set of sources.

    Attributes:
      encoder, slot_module, decoder: see `audioslots_jax.models.interface`.
      presence: from slots to logits of their probability to hold a source, if it is asked for;
        they are named ``"presence"``.
      mute: whether what a slot paints is multiplied by that probability.
    """

    encoder: nn.Module
    slot_module: nn.Module
    decoder: nn.Module
    presence: nn.Module | None = None
    mute: bool = False

    def __call__(
        self,
        mixture: Complex[Array, "batch frequency time"],
        queries: Float[Array, "batch slot embedding"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Outputs:
        """Returns slots and what the decoder makes of them.

        Mixtures are complex spectrograms with compressed magnitudes. Slots start from ``queries``,
        if given, in place of the slot module's own start; ``key`` is for what it draws, if any.
        """
        features: Features = self.encoder(mixture)
        slots: Slots = self.slot_module(features, queries, key)
        _, frequencies, times = mixture.shape
        decoded = self.decode(slots.slots, (frequencies, times), features)
        named = {**features.named, "grid": features.grid}
        if slots.attention is not None:
            named["attention"] = slots.attention
        if slots.passed is not None:
            named["passed"] = slots.passed
        if self.presence is not None:
            logits = named["presence"] = self.presence(slots.slots)
            if self.mute:
                heard = nn.sigmoid(logits)[:, :, None, None].astype(decoded.values.dtype)
                decoded = decoded._replace(values=heard * decoded.values)
        return Outputs(slots.slots, decoded, named)

    def decode(
        self,
        slots: Float[Array, "batch slot embedding"],
        size: tuple[int, int],
        features: Features | None = None,
    ) -> Magnitudes | Masks:
        """Returns the decoder's estimates for given slots at any ``size`` (bins, frames)."""
        return self.decoder(slots, size, features)
