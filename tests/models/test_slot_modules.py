"""What every slot module keeps, whichever it is."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import separator as separators
from audioslots_jax.models import Features, centres, fourier_features
from audioslots_jax.models.slots import SLOT_MODULES
from configs import voices
from tests.tiny import get_config

SAMPLES = 960
FIELDS = {
    "query_transformer": {"slot_size": 16, "layers": 2, "width": 8, "heads": 2, "mlp": 16},
    "gated_pooling": {"slot_size": 18},
    "slot_attention": {"slot_size": 16, "width": 8, "mlp": 16},
}
MIXTURE = jax.random.normal(jax.random.key(1), (2, SAMPLES))


def make(name, decoder, **fields):
    """A small separator of three slots, and parameters in which no layer is zero."""
    config = get_config() if decoder == "spatial_broadcast" else voices.get_config("mask")
    config.model.update(slots=3, presence=True)
    if decoder == "mask":
        config.model.mute = True
        config.model.decoder.adds_up = False
    config.model.slot_module = {"name": name, **FIELDS[name], **fields}
    if decoder == "mask" or name == "gated_pooling":
        frames = voices.get_config("mask").model.encoder
        config.model.encoder = {**frames, "width": 8, "blocks": 2, "embedding": 0}
    separator = separators.build(config, SAMPLES)
    params = jax.jit(separator.init, static_argnums=1)(jax.random.key(0), SAMPLES)
    noise = jax.random.normal
    params = jax.tree.map(lambda x: x + 0.1 * noise(jax.random.key(x.size), x.shape), params)
    return separator, params


def test_all_of_them_are_here():
    assert set(FIELDS) == set(SLOT_MODULES)


@pytest.mark.parametrize("decoder", ["spatial_broadcast", "mask"])
@pytest.mark.parametrize("name", FIELDS)
def test_permuting_the_start_permutes_everything(name, decoder):
    separator, params = make(name, decoder)
    size = FIELDS[name]["slot_size"]
    start = jax.random.normal(jax.random.key(2), (2, 3, size))
    apply = jax.jit(lambda queries: separator(params, MIXTURE, queries=queries))
    ours = jax.device_get(apply(start))
    for order in map(list, itertools.permutations(range(3))):
        theirs = jax.device_get(apply(start[:, jnp.array(order)]))
        for one, other in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_allclose(other, one[:, order], atol=1e-4)
        if "attention" in ours.named:
            one, other = ours.named["attention"], theirs.named["attention"]
            np.testing.assert_allclose(other, one[:, :, :, order], atol=1e-5)
        for part in {"passed", "presence"} & set(ours.named):
            one, other = ours.named[part], theirs.named[part]
            np.testing.assert_allclose(other, one[:, order], atol=1e-5)
        moved = order != sorted(order)
        assert (np.abs(ours.waveforms - theirs.waveforms).max() > 1e-3) == moved


def test_slots_share_every_cell_of_slot_attention():
    separator, params = make("slot_attention", "mask")
    shares = jax.jit(separator)(params, MIXTURE).named["attention"]
    np.testing.assert_allclose(shares.sum(axis=3), 1, atol=1e-5)
    assert shares.shape[:4] == (2, 3, 1, 3)


def test_nothing_passes_a_closed_gate_and_no_gate_lets_silence_pass():
    """A gate is closed if it is zero everywhere; the last third of the mixture is silent."""
    separator, params = make("gated_pooling", "mask")
    mixture = MIXTURE.at[:, 2 * SAMPLES // 3 :].set(0)
    closed = jnp.ones((2, 3, FIELDS["gated_pooling"]["slot_size"])).at[:, 1].set(0)
    passed = np.asarray(
        jax.jit(lambda queries: separator(params, mixture, queries=queries).named["passed"])(closed)
    )
    frames = separator.front_end.stft.frames(SAMPLES)
    assert passed.shape == (2, 3, frames)
    assert (passed[:, 1] == 0).all()
    assert (passed[..., -frames // 4 :] == 0).all()
    assert (passed[:, [0, 2], : frames // 2] > 0).all()


def test_random_slots_are_drawn_by_their_key_alone():
    separator, params = make("slot_attention", "mask", start="random")
    slots = jax.jit(lambda key: separator(params, MIXTURE, key=key).slots)
    first = slots(jax.random.key(1))
    np.testing.assert_array_equal(first, slots(jax.random.key(1)))
    assert np.abs(first - slots(jax.random.key(2))).max() > 1e-3
    np.testing.assert_array_equal(slots(None), slots(None))


def test_random_slots_may_be_more_than_in_the_training():
    """Their parameters are one mean and one width, whatever their number."""
    _, params = make("slot_attention", "mask", start="random")
    config = voices.get_config("mask")
    config.model.encoder.update(width=8, blocks=2, embedding=0)
    config.model.slot_module = {"name": "slot_attention", "start": "random"}
    config.model.slot_module.update(FIELDS["slot_attention"])
    config.model.slots = 5
    more = separators.build(config, SAMPLES)
    assert jax.eval_shape(more, params, MIXTURE).waveforms.shape == (2, 5, SAMPLES)


def test_slot_attention_is_the_published_algorithm():
    """Two iterations of algorithm 1 of Locatello et al. (2020), written out in numpy."""
    module = SLOT_MODULES["slot_attention"](
        3, crop_frames=6, slot_size=5, iterations=2, width=4, mlp=7,
        frequency_octaves=1, time_octaves=1,
    )  # fmt: skip
    features = Features(jax.random.normal(jax.random.key(0), (1, 2, 6, 3)), centres(6), {})
    params = jax.jit(module.init)(jax.random.key(1), features)
    found = jax.jit(module.apply)(params, features)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])

    def norm(x, scale):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * scale["scale"] + scale["bias"]

    def dense(x, part):
        return x @ part["kernel"] + part.get("bias", 0)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    code = fourier_features(centres(2) / 2, centres(6) / 6, 1, 1)
    cells = norm(
        (np.asarray(features.grid[0]) + dense(np.asarray(code), p["position"])).reshape(12, 3),
        p["memory_norm"],
    )
    slots = p["queries"]
    for number in range(2):
        logits = dense(norm(slots, p["slot_norm"]), p["query"]) @ dense(cells, p["key"]).T / 2
        shares = np.exp(logits) / np.exp(logits).sum(0)
        np.testing.assert_allclose(found.attention[0, number, 0].reshape(3, 12), shares, atol=1e-5)
        seen = shares / shares.sum(1, keepdims=True) @ dense(cells, p["value"])
        gru = p["update"]
        reset = sigmoid(dense(seen, gru["ir"]) + dense(slots, gru["hr"]))
        keep = sigmoid(dense(seen, gru["iz"]) + dense(slots, gru["hz"]))
        new = np.tanh(dense(seen, gru["in"]) + reset * dense(slots, gru["hn"]))
        slots = (1 - keep) * new + keep * slots
        slots = slots + dense(
            np.maximum(dense(norm(slots, p["mlp_norm"]), p["mlp_in"]), 0), p["mlp_out"]
        )
    np.testing.assert_allclose(found.slots[0], slots, atol=1e-5)
