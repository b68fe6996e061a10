"""Where mixtures come from; `audioslots_jax.data.pipeline` streams them."""

import importlib
from typing import TYPE_CHECKING, Any

from audioslots_jax.data.batch import Batch, Data, DataSet, Mixtures, Whole, crop_samples

if TYPE_CHECKING:
    from audioslots_jax.data.data_sets import DATA_SETS, make
    from audioslots_jax.data.libri2mix import Libri2Mix, Libri3Mix
    from audioslots_jax.data.libri2mix_crops import DynamicMixing, OfficialMixing
    from audioslots_jax.data.speakers import Speakers
    from audioslots_jax.data.store import open_store
    from audioslots_jax.data.voices import Voices

# Imported when they are used, since a model needs `Batch` alone, and no library that reads audio.
MODULES = {
    "DATA_SETS": "data_sets",
    "DynamicMixing": "libri2mix_crops",
    "Libri2Mix": "libri2mix",
    "Libri3Mix": "libri2mix",
    "OfficialMixing": "libri2mix_crops",
    "Speakers": "speakers",
    "Voices": "voices",
    "make": "data_sets",
    "open_store": "store",
}


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "DATA_SETS",
    "Batch",
    "Data",
    "DataSet",
    "DynamicMixing",
    "Libri2Mix",
    "Libri3Mix",
    "Mixtures",
    "OfficialMixing",
    "Speakers",
    "Voices",
    "Whole",
    "crop_samples",
    "make",
    "open_store",
]
