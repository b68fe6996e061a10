"""Where mixtures come from; `audioslots_jax.data.pipeline` streams them."""

from audioslots_jax.data.batch import Batch, Data, DataSet, Mixtures, Whole, crop_samples
from audioslots_jax.data.data_sets import DATA_SETS, make
from audioslots_jax.data.libri2mix import Libri2Mix
from audioslots_jax.data.libri2mix_crops import DynamicMixing, OfficialMixing
from audioslots_jax.data.speakers import Speakers
from audioslots_jax.data.store import open_store
from audioslots_jax.data.voices import Voices

__all__ = [
    "DATA_SETS",
    "Batch",
    "Data",
    "DataSet",
    "DynamicMixing",
    "Libri2Mix",
    "Mixtures",
    "OfficialMixing",
    "Speakers",
    "Voices",
    "Whole",
    "crop_samples",
    "make",
    "open_store",
]
