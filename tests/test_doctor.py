import functools
import re

import jax
import pytest
from ml_collections import ConfigDict

from audioslots_jax import UserError, doctor
from audioslots_jax.training.settings import complete
from configs import compact
from tests.tiny import get_config


def small(batch: int) -> ConfigDict:
    config = get_config()
    config.train.update(batch_size=batch, ema_decay=0.9)
    config.model.encoder.update(blocks=(1,), widths=(8,), strides=(2,))
    config.model.slot_module.layers = 1
    config.model.decoder.layers = 1
    return complete(config)


@functools.cache
def planned(batch: int) -> dict[str, int]:
    with jax.numpy_dtype_promotion("standard"):  # Adam in optax promotes types
        return doctor.memory(small(batch), devices=1)


def test_memory_grows_with_the_batch():
    (arguments, beside, between), (more_arguments, _, more_between) = (
        planned(batch).values() for batch in (4, 32)
    )
    mixture = 960 * 4 * 3 + 2  # samples of it and of two sources, and whether they are present
    assert more_arguments - arguments == 28 * mixture
    assert beside < arguments / 10  # the new state takes the place of the old one
    layer = 2 * 128 * 8 * 8 * 4  # of the decoder, for one mixture
    assert more_between - between > 28 * layer


def test_a_config_is_examined_without_recordings(monkeypatch):
    monkeypatch.setattr(doctor, "memory", lambda config, devices: planned(4))
    config = compact.get_config()
    config.data.root = "/nowhere"
    report = doctor.examine(config, devices=1)
    assert max(map(len, report.splitlines())) <= 100
    assert re.search(r"^sources +16 x 2 x 16000 +float32 +1\.953$", report, re.M)
    assert re.search(r"^grid +16 x 1 x 63 x 192 +float32", report, re.M)
    assert re.search(r"^estimates +16 x 2 x 16000 +float32 +1\.953$", report, re.M)
    assert re.search(r"^a step: \d+\.\d\d GFLOP", report, re.M)
    arguments = planned(4)["arguments: state and batch"] / 2**20
    assert re.search(rf"^arguments: state and batch +{arguments:.3f}$", report, re.M)


def test_parameters_add_up():
    params = {
        "encoder": {"root": jax.ShapeDtypeStruct((2, 3), "float32")},
        "slot_module": {
            "layer1_in": {"kernel": jax.ShapeDtypeStruct((5, 7), "float32")},
            "layer1_out": {"bias": jax.ShapeDtypeStruct((11,), "float32")},
            "queries": jax.ShapeDtypeStruct((13,), "float32"),
        },
    }
    assert list(doctor.parameters({"params": params})) == [
        ("encoder", 6), ("  root", 6),
        ("slot_module", 59), ("  layer1", 46), ("  queries", 13),
        ("decoder", 0), ("all", 65),
    ]  # fmt: skip


def test_a_config_that_cannot_be_trained_is_refused(tiny):
    with pytest.raises(UserError, match="multiple of the number of devices"):
        doctor.examine(tiny, devices=3)
    with pytest.raises(UserError, match="there are 1 cpu devices, not 2"):
        doctor.examine(tiny, devices=2)
