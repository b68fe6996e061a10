"""One true training step of the paper's experiment, at full size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from audioslots_jax import Batch
from audioslots_jax.data import Voices
from audioslots_jax.training import optimizers
from audioslots_jax.training.state import init_state
from audioslots_jax.training.step import make_task, train_step
from configs import paper


def transformer_parameters(layers=4, slots=2, d=4096, width=512, mlp=1024, grid=512, octaves=5 + 3):
    """Counted from the paper's description by hand."""
    norm = 2 * d
    self_attention = 3 * (d * width + width) + width * d + d
    cross_attention = d * width + width + 2 * (grid * width + width) + width * d + d
    per_layer = 3 * norm + self_attention + cross_attention + (d * mlp + mlp) + (mlp * d + d)
    position = 2 * octaves * grid + grid
    return slots * d + layers * per_layer + norm + position + 2 * grid


def decoder_parameters(d=4096, width=256, hidden=5, octaves=8 + 6):
    return (d + 2 * octaves) * width + width + (hidden - 1) * (width**2 + width) + width + 1


def random_state(task, optimizer, samples):
    """A state in which no parameter is zero; to draw what a training starts from takes longer."""
    init = functools.partial(init_state, task.separator, optimizer, samples, 0)
    random = np.random.default_rng(0)

    def draw(shape):
        return random.standard_normal(shape.shape, np.float32) / max(shape.size, 1) ** 0.25

    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(init))
    return state._replace(params=jax.tree.map(draw, state.params))


def test_a_true_training_step():
    config = paper.get_config()
    config.train.warmup_steps = 0  # so that the first step has a learning rate above zero
    task, optimizer = make_task(config), optimizers.build(config)
    batch = Voices(sample_rate=16000, samples=8000).batch(0, 0, range(1), 1)
    batch = Batch(*map(jnp.asarray, batch))
    assert task.separator.front_end.size(8000) == (256, 64)
    before = random_state(task, optimizer, 8000)

    estimates = jax.eval_shape(task.separator, before.params, batch.mixture)
    assert estimates.named["grid"].shape == (1, 32, 8, 512)
    assert estimates.slots.shape == (1, 2, 4096)
    assert estimates.named["attention"].shape == (1, 4, 8, 2, 32, 8)
    assert estimates.magnitudes.shape == (1, 2, 256, 64)

    sizes = {
        part: sum(x.size for x in jax.tree.leaves(tree))
        for part, tree in before.params["params"].items()
    }
    assert sizes == {
        "encoder": 21_275_840,  # derived in tests/models/test_resnet.py
        "slot_module": transformer_parameters(),
        "decoder": decoder_parameters(),
    }

    state, values = jax.jit(functools.partial(train_step, task, optimizer))(before, batch)
    assert int(state.step) == 1
    assert np.isfinite(float(values["loss"]))
    changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), before.params, state.params)
    for path, did in jax.tree_util.tree_leaves_with_path(changed):
        assert did, jax.tree_util.keystr(path, simple=True, separator=".")
