import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from audioslots_jax import UserError, models
from tests.tiny import get_config

MIXTURE = jax.random.normal(jax.random.key(1), (3, 128, 8), jnp.complex64)


@functools.cache
def made(slots=2):
    config = get_config().model
    config.slots = slots
    config.encoder.update(blocks=(1, 1), widths=(8, 8), strides=(2, 2))
    config.slot_module.layers = 2
    model = models.build(FrozenConfigDict(config), crop_frames=8)
    return model, *jax.jit(model.init_with_output)(jax.random.key(0), MIXTURE)


def test_every_intermediate_has_a_name():
    model, outputs, params = made()
    assert set(outputs.named) == {"root", "stage1", "stage2", "grid", "attention"}
    np.testing.assert_array_equal(outputs.named["grid"], outputs.named["stage2"])
    assert outputs.named["grid"].shape == (3, 16, 1, 8)
    assert outputs.named["attention"].shape == (3, 2, 2, 2, 16, 1)
    assert outputs.slots.shape == (3, 2, 16)
    assert outputs.decoded.values.shape == (3, 2, 128, 8)
    assert set(params["params"]) == {"encoder", "slot_module", "decoder"}
    # A slot can be decoded alone, at any size.
    alone = model.apply(params, outputs.slots[:, 1:], (128, 8), method="decode")
    np.testing.assert_allclose(alone.values, outputs.decoded.values[:, 1:], atol=1e-6)
    longer = jax.eval_shape(model.apply, params, jnp.tile(MIXTURE, (1, 1, 2)))
    assert longer.decoded.values.shape == (3, 2, 128, 16)


def test_mixtures_of_a_batch_do_not_touch_each_other():
    model, outputs, params = made()
    alone = jax.jit(model.apply)(params, MIXTURE[1:2])
    np.testing.assert_allclose(alone.decoded.values, outputs.decoded.values[1:2], atol=1e-5)


def test_queries_can_be_handed_in():
    model, outputs, params = made()
    queries = jnp.tile(params["params"]["slot_module"]["queries"][None, ::-1], (3, 1, 1))
    swapped = jax.jit(model.apply)(params, MIXTURE, queries)
    np.testing.assert_allclose(swapped.slots, outputs.slots[:, ::-1], atol=1e-5)


def test_unknown_parts_and_fields_are_named():
    config = get_config().model
    config.decoder.name = "sketch"
    with pytest.raises(
        UserError, match=r"config\.model\.decoder\.name is 'sketch'; it must be one"
    ):
        models.build(config, crop_frames=8)
