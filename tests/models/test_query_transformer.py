import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.models import Features, QueryTransformer, centres
from audioslots_jax.models.slots.query_transformer import Attention

MODULE = QueryTransformer(
    slots=3, crop_frames=24, slot_size=16, layers=2, width=8, heads=2, mlp=12,
    frequency_octaves=2, time_octaves=2,
)  # fmt: skip
STRIDE = 4  # frames of a column of the grid
GRID = jax.random.normal(jax.random.key(1), (2, 4, 6, 5))
APPLY = jax.jit(MODULE.apply)


@pytest.fixture(scope="module")
def params():
    return jax.jit(MODULE.init)(jax.random.key(0), features(GRID))


def features(grid, first=0):
    return Features(grid, first + centres(grid.shape[2], STRIDE), {})


def slots_of(params, grid, queries=None, first=0):
    return APPLY(params, features(grid, first), queries)


def test_outputs_by_name(params):
    outputs = slots_of(params, GRID)
    assert outputs.slots.shape == (2, 3, 16)
    assert outputs.attention.shape == (2, 2, 2, 3, 4, 6)
    np.testing.assert_allclose(
        jnp.sum(outputs.attention, axis=(-1, -2)), np.ones((2, 2, 2, 3)), rtol=1e-5
    )


def test_permuting_queries_permutes_slots(params):
    order = jnp.array([2, 0, 1])
    swapped = jax.tree.map(lambda x: x, params)
    swapped["params"]["queries"] = params["params"]["queries"][order]
    ours, theirs = slots_of(params, GRID), slots_of(swapped, GRID)
    np.testing.assert_allclose(theirs.slots, ours.slots[:, order], atol=1e-5)
    np.testing.assert_allclose(theirs.attention, ours.attention[:, :, :, order], atol=1e-5)


def test_given_queries_take_the_place_of_the_learned(params):
    learned = jnp.tile(params["params"]["queries"][None], (2, 1, 1))
    ours = slots_of(params, GRID).slots
    np.testing.assert_allclose(slots_of(params, GRID, learned).slots, ours, atol=1e-5)
    shuffled = jnp.roll(learned, 1, axis=2)
    assert np.abs(slots_of(params, GRID, shuffled).slots - ours).max() > 1e-3


def test_position_matters(params):
    moved = slots_of(params, GRID[:, ::-1])
    assert np.abs(moved.slots - slots_of(params, GRID).slots).max() > 1e-3


def test_a_frame_is_the_same_frame_at_any_length(params):
    """A column that no query looks away from gives the same slots alone and in a longer grid.

    Keys of the first columns do not depend on how many columns follow.
    """
    ours = slots_of(params, GRID[:, :, 2:4], first=2 * STRIDE)
    longer = slots_of(params, GRID)
    # Attention within the columns that both have, as shares of one another.
    inside = longer.attention[:, 0][..., 2:4]
    shares = inside / inside.sum(axis=(-1, -2), keepdims=True)
    np.testing.assert_allclose(ours.attention[:, 0], shares, atol=1e-5)
    assert slots_of(params, jnp.concatenate([GRID, GRID], axis=2)).attention.shape[-2:] == (4, 12)


def test_attention_equals_definition():
    """Against softmax(q k^T / sqrt(d)) v written out in numpy, head by head."""
    module = Attention(width=6, heads=2)
    queries = jax.random.normal(jax.random.key(0), (1, 3, 5))
    memory = jax.random.normal(jax.random.key(1), (1, 4, 7))
    params = jax.jit(module.init)(jax.random.key(2), queries, memory)["params"]
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    expected = np.broadcast_to(p["out"]["bias"], (3, 5)).copy()
    for head in range(2):
        project = lambda name, x: x @ p[name]["kernel"][:, head] + p[name]["bias"][head]  # noqa: E731, B023
        q, k, v = (project(n, np.asarray(x[0])) for n, x in
                   (("query", queries), ("key", memory), ("value", memory)))  # fmt: skip
        weights = np.exp(q @ k.T / np.sqrt(3))
        expected += (weights / weights.sum(1, keepdims=True)) @ v @ p["out"]["kernel"][head]
    output, _ = jax.jit(module.apply)({"params": params}, queries, memory)
    np.testing.assert_allclose(output[0], expected, atol=1e-5)
