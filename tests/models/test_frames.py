import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import UserError
from audioslots_jax.fields import make
from audioslots_jax.models import Features, centres
from audioslots_jax.models.decoders import DECODERS, MaskDecoder
from audioslots_jax.models.encoders import ENCODERS, Frames
from audioslots_jax.models.slots import GatedPooling
from audioslots_jax.models.slots.gated_pooling import KEPT, faded

ENCODER = Frames(width=16, blocks=3, embedding=4, embedding_block=2)
REACH = 1 + 2 + 4  # frames on each side that a frame of three blocks depends on


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def features(*shape, loudness=1.0):
    grid = noise(*shape)[:, None]
    return Features(grid, centres(shape[1]), {"loudness": jnp.full(shape[:2], loudness)})


@pytest.fixture(scope="module")
def encode():
    params = jax.jit(ENCODER.init)(jax.random.key(0), jnp.zeros((1, 6, 20), jnp.complex64))
    params = jax.tree.map(lambda x: x + 0.1 * noise(*x.shape, seed=x.size), params)
    return jax.jit(lambda mixture: ENCODER.apply(params, mixture))


def test_a_frame_depends_on_its_neighbours_alone(encode):
    """So recordings of any length go through as crops do."""
    mixture = jax.lax.complex(noise(2, 6, 60), noise(2, 6, 60, seed=1))
    whole = encode(mixture)
    assert whole.grid.shape == (2, 1, 60, 16)
    np.testing.assert_array_equal(whole.frames, np.arange(60) + 0.5)
    part = encode(mixture[..., 20:50])
    kept = slice(REACH, 30 - REACH)
    np.testing.assert_allclose(
        part.grid[:, :, kept], whole.grid[:, :, 20:50][:, :, kept], atol=1e-5
    )
    outside = encode(mixture.at[..., 30 + REACH + 1].add(1.0))
    np.testing.assert_allclose(outside.grid[:, :, 30], whole.grid[:, :, 30], atol=1e-6)
    inside = encode(mixture.at[..., 30 + REACH].add(1.0))
    assert np.abs(inside.grid[:, :, 30] - whole.grid[:, :, 30]).max() > 1e-4


def test_embeddings_are_of_cells_and_only_where_they_are_asked_for(encode):
    found = encode(jnp.ones((2, 6, 20), jnp.complex64)).named
    assert found["embeddings"].shape == (2, 20, 6, 4)
    assert set(found) == {"block1", "block2", "block3", "embeddings", "loudness"}
    without = make(ENCODERS, {"name": "frames", "width": 8, "blocks": 2, "embedding": 0}, "encoder")
    shape = jax.eval_shape(without.init, jax.random.key(0), jnp.zeros((1, 6, 9), jnp.complex64))
    assert not [name for name in shape["params"] if "embedding" in name]


def test_at_first_the_model_is_a_split():
    """A dense layer per slot, which is what a network with an output per source has."""
    slots_module, decoder = GatedPooling(slots=2, slot_size=8), MaskDecoder()
    frames = features(3, 10, 5)
    slots, _ = jax.jit(slots_module.init_with_output)(jax.random.key(0), frames)
    init = jax.jit(decoder.init_with_output, static_argnums=2)
    masks, params = init(jax.random.key(1), slots.slots, (6, 10), frames)
    assert masks.values.shape == (3, 2, 6, 10)
    hidden, output = (np.asarray(params["params"][x]["kernel"]) for x in ("hidden", "output"))
    grid = np.asarray(frames.grid[:, 0])
    parts = [grid @ (hidden[:, own] @ output[own]) for own in (slice(0, 4), slice(4, 8))]
    split = np.stack([part[..., :6] + 1j * part[..., 6:] for part in parts], axis=1)
    expected = split + (1 - split.sum(axis=1, keepdims=True)) / 2
    np.testing.assert_allclose(np.swapaxes(masks.values, 2, 3), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(masks.values.sum(axis=1), 1, atol=1e-6)
    # Noise may go nowhere.
    alone = MaskDecoder(adds_up=False).apply(params, slots.slots, (6, 10), frames)
    expected = split + 1 / 2
    np.testing.assert_allclose(np.swapaxes(alone.values, 2, 3), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def gather():
    """Slots of a module that has learned something, which its first parameters have not."""
    module = GatedPooling(slots=2, slot_size=8)
    shapes = jax.eval_shape(module.init, jax.random.key(0), features(1, 4, 5))
    params = jax.tree.map(lambda x: noise(*x.shape, seed=x.size), shapes)
    return jax.jit(lambda frames, queries=None: module.apply(params, frames, queries).slots)


def test_slots_depend_on_what_is_heard_and_not_on_how_long(gather):
    frames = features(3, 10, 5)
    slots = gather(frames)
    assert np.abs(slots[0] - slots[1]).max() > 1e-2
    twice = jnp.concatenate([frames.grid, frames.grid[:, :, ::-1]], axis=2)
    silence = jnp.concatenate([frames.grid, jnp.ones_like(frames.grid)], axis=2)
    for longer, end in ((twice, 1.0), (silence, 0.0)):
        loudness = jnp.concatenate([jnp.ones((3, 10)), jnp.full((3, 10), end)], axis=1)
        again = gather(Features(longer, centres(20), {"loudness": loudness}))
        np.testing.assert_allclose(again, slots, rtol=1e-4, atol=1e-5)
    nothing = gather(features(3, 10, 5, loudness=0.0))
    assert np.isfinite(nothing).all()


def test_slots_that_are_carried_on_stay_bounded(gather):
    frames, slots, lengths = features(1, 10, 5), None, []
    for _ in range(100):
        slots = gather(frames, slots)
        lengths.append(np.linalg.norm(slots, axis=-1).max())
    assert max(lengths) < 2 * max(lengths[:3])


def test_slots_that_start_from_the_learned_queries_are_those_of_a_first_chunk(gather):
    frames, learned = features(3, 10, 5), noise(2, 8, seed=16)  # as in `gather`
    slots = gather(frames, jnp.broadcast_to(learned[None], (3, 2, 8)))
    np.testing.assert_allclose(slots, gather(frames), atol=1e-6)


def test_slots_fade_to_learned_queries_of_their_own():
    """In whatever order; two that are near the same query do not share it."""
    learned = 4 * np.eye(3, dtype=np.float32)
    near = learned[[2, 0, 1]] + 0.3 * noise(3, 3, seed=2)
    shared = np.stack([learned[1] + [0, 1, 0], learned[1], learned[0]]).astype(np.float32)
    own = np.stack([learned[[2, 0, 1]], learned[[1, 2, 0]]])
    gates = np.stack([near, shared])
    expected = own + KEPT * (gates - own)
    np.testing.assert_allclose(faded(jnp.asarray(gates), jnp.asarray(learned)), expected, atol=1e-6)


def test_the_order_of_queries_is_that_of_slots(gather):
    frames, queries = features(3, 10, 5), noise(3, 2, 8, seed=5)
    slots = gather(frames, queries)
    np.testing.assert_allclose(gather(frames, queries[:, ::-1]), slots[:, ::-1], atol=1e-6)


def test_the_order_of_slots_is_that_of_masks():
    decoder, frames, slots = MaskDecoder(), features(3, 10, 5), noise(3, 2, 8)
    masks, params = decoder.init_with_output(jax.random.key(0), slots, (6, 10), frames)
    swapped = decoder.apply(params, slots[:, ::-1], (6, 10), frames).values
    np.testing.assert_allclose(swapped, masks.values[:, ::-1], atol=1e-6)
    assert "mask" in DECODERS


def test_an_image_network_is_refused():
    grid = Features(noise(1, 4, 10, 8), centres(10), {})
    for part, given in ((GatedPooling(slots=2, slot_size=8), ()), (MaskDecoder(), (6, 10))):
        arguments = (noise(1, 2, 8), given, grid) if given else (grid,)
        with pytest.raises(UserError, match="need an encoder of frames"):
            part.init(jax.random.key(0), *arguments)


def test_zeros_around_a_recording_change_nothing(encode):
    """Neither with a bias that learned something, nor where the network would look beyond."""
    mixture = jax.lax.complex(noise(2, 6, 20), noise(2, 6, 20, seed=1))
    padded = jnp.pad(mixture, ((0, 0), (0, 0), (5, 40)))
    alone, within = encode(mixture), encode(padded)
    np.testing.assert_allclose(within.grid[:, :, 5:25], alone.grid, atol=1e-5)
    np.testing.assert_allclose(within.named["loudness"][:, 25:], 0)
