import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.models import SpatialBroadcastDecoder
from experiments.decoder_speed.naive import decode

DECODER = SpatialBroadcastDecoder(
    crop_frames=8, layers=3, width=32, frequency_octaves=4, time_octaves=3
)
SLOTS = jax.random.normal(jax.random.key(1), (2, 3, 64))


@pytest.fixture(scope="module")
def params():
    return DECODER.init(jax.random.key(0), SLOTS, (16, 8))


def naive(params, slots, size):
    return decode(DECODER, params, slots, size)


@pytest.mark.parametrize("size", [(16, 8), (16, 16), (5, 3)])
def test_equals_the_naive_broadcast(params, size):
    ours = DECODER.apply(params, SLOTS, size).values
    assert ours.shape == (2, 3, *size)
    np.testing.assert_allclose(ours, naive(params, SLOTS, size), rtol=1e-5, atol=2e-6)


def test_gradients_equal_those_of_the_naive_broadcast(params):
    def loss(function):
        return jax.grad(lambda p: jnp.sum(jnp.square(function(p, SLOTS, (16, 8)))))(params)

    ours, theirs = loss(lambda *a: DECODER.apply(*a).values), loss(naive)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.max(jnp.abs(b))) + 1e-6)


def test_permuting_slots_permutes_spectrograms(params):
    order = jnp.array([1, 2, 0])
    ours = DECODER.apply(params, SLOTS, (16, 8)).values
    np.testing.assert_allclose(
        DECODER.apply(params, SLOTS[:, order], (16, 8)).values, ours[:, order], rtol=1e-6
    )


def test_the_beginning_does_not_depend_on_the_length(params):
    """One frame is one frame however long the crop is."""
    short = DECODER.apply(params, SLOTS, (16, 5)).values
    np.testing.assert_allclose(
        DECODER.apply(params, SLOTS, (16, 13)).values[..., :5], short, rtol=1e-5, atol=1e-6
    )


def test_nothing_as_wide_as_slot_and_grid_is_computed():
    """At d = 4096 the naive first layer stores F x T x 4096 values per slot; ours never does."""
    decoder = SpatialBroadcastDecoder(crop_frames=64)
    slots = jax.ShapeDtypeStruct((1, 2, 4096), jnp.float32)
    params = jax.eval_shape(lambda s: decoder.init(jax.random.key(0), s, (256, 64)), slots)
    jaxpr = jax.make_jaxpr(lambda p, s: decoder.apply(p, s, (256, 64)))(params, slots)
    largest = max(v.aval.size for e in jaxpr.eqns for v in e.outvars)
    assert largest <= 2 * 256 * 64 * 256
