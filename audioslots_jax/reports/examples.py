"""Held-out mixtures taken apart, as evaluators hand them to reports."""

from typing import Any, NamedTuple

from jaxtyping import Float


class Examples(NamedTuple):
    """Mixtures taken apart, to look at and listen to.

    Attributes:
      mixture, sources, estimates: waveforms; estimates are in the order of the sources.
      mixture_spectrogram, source_spectrograms, estimated_spectrograms: compressed magnitudes.
      slots: source embeddings, in an order that the sources do not change.
      usage: energy of each of these slots over that of all, in [0, 1].
    """

    mixture: Float[Any, "batch sample"]
    sources: Float[Any, "batch source sample"]
    estimates: Float[Any, "batch source sample"]
    mixture_spectrogram: Float[Any, "batch frequency time"]
    source_spectrograms: Float[Any, "batch source frequency time"]
    estimated_spectrograms: Float[Any, "batch source frequency time"]
    slots: Float[Any, "batch slot embedding"]
    usage: Float[Any, "batch slot"]
