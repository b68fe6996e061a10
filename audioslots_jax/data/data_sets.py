"""The data sets that a config can name."""

from audioslots_jax import fields
from audioslots_jax.data.batch import DataSet
from audioslots_jax.data.libri2mix_data import Libri2MixData
from audioslots_jax.data.speakers import SpeakersData
from audioslots_jax.data.voices import VoicesData

DATA_SETS: dict[str, type] = {
    "voices": VoicesData,
    "speakers": SpeakersData,
    "libri2mix": Libri2MixData,
}


def make(config: fields.Section) -> DataSet:
    """Returns the data set of a config's section ``data``; a `UserError` names a wrong field."""
    # Runs of earlier versions kept a fingerprint there.
    section = {name: value for name, value in config.items() if name != "fingerprint"}
    data: DataSet = fields.make(DATA_SETS, section, "data", key="kind")
    return data
