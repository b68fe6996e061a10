"""Held-out mixtures taken apart, as evaluators hand them to reports."""

from typing import Any, NamedTuple

from jaxtyping import Float


class Examples(NamedTuple):
    """Mixtures taken apart, to look at and listen to.

    Attributes:
      mixture, sources, estimates: waveforms; estimates are in the order of the sources.
      mixture_spectrogram, source_spectrograms, estimated_spectrograms: compressed magnitudes.
    """

    mixture: Float[Any, "batch sample"]
    sources: Float[Any, "batch source sample"]
    estimates: Float[Any, "batch source sample"]
    mixture_spectrogram: Float[Any, "batch frequency time"]
    source_spectrograms: Float[Any, "batch source frequency time"]
    estimated_spectrograms: Float[Any, "batch source frequency time"]
