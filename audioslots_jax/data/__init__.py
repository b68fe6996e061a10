"""Where mixtures come from. `audioslots_jax.data.pipeline` streams them and needs TensorFlow."""

from audioslots_jax.data.libri2mix import Libri2Mix
from audioslots_jax.data.mixtures import Mixtures, batch
from audioslots_jax.data.opening import KINDS, open_data
from audioslots_jax.data.recordings import scan
from audioslots_jax.data.speakers import Speakers, hold_out
from audioslots_jax.data.voices import Voices

__all__ = [
    "KINDS",
    "Libri2Mix",
    "Mixtures",
    "Speakers",
    "Voices",
    "batch",
    "hold_out",
    "open_data",
    "scan",
]
