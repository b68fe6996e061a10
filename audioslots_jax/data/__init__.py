"""Where mixtures come from. `audioslots_jax.data.pipeline` streams them and needs TensorFlow."""

from audioslots_jax.data.libri2mix import Libri2Mix
from audioslots_jax.data.mixing import DynamicMixing, OfficialMixing
from audioslots_jax.data.mixtures import Mixtures
from audioslots_jax.data.opening import KINDS, open_data
from audioslots_jax.data.recordings import scan
from audioslots_jax.data.speakers import Speakers, hold_out
from audioslots_jax.data.store import open_store
from audioslots_jax.data.voices import Voices

__all__ = [
    "KINDS",
    "DynamicMixing",
    "Libri2Mix",
    "Mixtures",
    "OfficialMixing",
    "Speakers",
    "Voices",
    "hold_out",
    "open_data",
    "open_store",
    "scan",
]
