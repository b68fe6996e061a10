import jax
import jax.numpy as jnp
import numpy as np

from audioslots_jax import models


def test_every_intermediate_has_a_name(tiny):
    model = models.build(tiny.model)
    mixture = jax.random.uniform(jax.random.key(1), (3, 128, 8))
    outputs, params = jax.jit(model.init_with_output)(jax.random.key(0), mixture)
    assert list(outputs.features) == ["root", "stage1", "stage2"]
    np.testing.assert_array_equal(outputs.grid, outputs.features["stage2"])
    assert outputs.grid.shape == (3, 16, 1, 8)
    assert outputs.slots.shape == (3, 2, 16)
    assert outputs.attention.shape == (2, 3, 2, 2, 16, 1)
    assert outputs.spectrograms.shape == (3, 2, 128, 8)
    assert set(params["params"]) == {"encoder", "slot_module", "decoder"}
    # A slot can be decoded alone, at any size.
    alone = model.apply(params, outputs.slots[:, 1:], (128, 8), method="decode")
    np.testing.assert_allclose(alone, outputs.spectrograms[:, 1:], atol=1e-6)
    longer = jax.jit(model.apply)(params, jnp.tile(mixture, (1, 1, 2)))
    assert longer.spectrograms.shape == (3, 2, 128, 16)


def test_mixtures_of_a_batch_do_not_touch_each_other(tiny):
    model = models.build(tiny.model)
    mixtures = jax.random.uniform(jax.random.key(1), (3, 128, 8))
    outputs, params = jax.jit(model.init_with_output)(jax.random.key(0), mixtures)
    alone = jax.jit(model.apply)(params, mixtures[1:2])
    np.testing.assert_allclose(alone.spectrograms, outputs.spectrograms[1:2], atol=1e-5)
