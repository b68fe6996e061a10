import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import UserError
from audioslots_jax.training.optimizers import build, kernels, make_schedule


def test_warm_up_is_linear_and_decay_a_cosine(tiny):
    tiny.train.update(learning_rate=0.5, warmup_steps=10, steps=110)
    schedule = make_schedule(tiny)
    for step in range(111):
        done = (step - 10) / 100
        expected = 0.05 * step if step < 10 else 0.25 * (1 + math.cos(math.pi * done))
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)


def test_a_run_may_be_shorter_than_its_warm_up(tiny):
    tiny.train.update(learning_rate=0.5, warmup_steps=10, steps=4)
    schedule = make_schedule(tiny)
    assert [float(schedule(step)) for step in range(5)] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_adam_is_adam_on_clipped_gradients(tiny, clip_norm):
    """Against Adam (Kingma & Ba 2015, algorithm 1) written out in numpy."""
    tiny.train.update(learning_rate=0.1, warmup_steps=1, steps=50, clip_norm=clip_norm)
    optimizer, schedule = build(tiny), make_schedule(tiny)
    params = jnp.array([1.0, -2.0])
    state = optimizer.init(params)
    expected = np.array([1.0, -2.0])
    m, v = np.zeros(2), np.zeros(2)
    for step in range(5):
        gradient = np.array([3.0, -4.0]) * (step + 1)
        updates, state = optimizer.update(jnp.asarray(gradient), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        if clip_norm:
            gradient = gradient * min(1, clip_norm / np.linalg.norm(gradient))
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        corrected = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
        expected -= float(schedule(step)) * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    np.testing.assert_allclose(params, expected, rtol=1e-5)


def orthogonalised(matrix):
    """Newton and Schulz's five iterations in numpy, as Jordan et al. (2024) write them."""
    a, b, c = 3.4445, -4.775, 2.0315
    x = matrix / np.linalg.norm(matrix)
    x = x.T if x.shape[0] > x.shape[1] else x
    for _ in range(5):
        g = x @ x.T
        x = a * x + (b * g + c * g @ g) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


KERNELS = {"dense": (6, 4), "conv": (3, 3, 2, 8), "query": (6, 2, 5), "out": (2, 5, 6)}


def test_muon_turns_kernels_as_matrices_and_adam_the_rest(tiny):
    """One step, against numpy: kernels of every layer as matrices from inputs to outputs."""
    tiny.optimizer = {"name": "muon"}
    tiny.train.update(learning_rate=0.5, warmup_steps=0, steps=10)
    random = np.random.default_rng(0)
    params = {name: {"kernel": random.normal(size=shape)} for name, shape in KERNELS.items()}
    params["dense"]["bias"] = random.normal(size=4)
    params["queries"] = random.normal(size=(2, 3))
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    gradient = jax.tree.map(lambda x: x + 1, params)
    optimizer = build(tiny)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    for name, shape in KERNELS.items():
        inputs = shape[0] if name == "query" else int(np.prod(shape[:-1]))
        matrix = np.asarray(gradient[name]["kernel"], np.float64).reshape(inputs, -1)
        expected = -0.5 * 0.2 * max(matrix.shape) ** 0.5 * orthogonalised(matrix)
        found = np.asarray(updates[name]["kernel"]).reshape(matrix.shape)
        np.testing.assert_allclose(found, expected, atol=0.01)
    for found, of in ((updates["dense"]["bias"], gradient["dense"]["bias"]),
                      (updates["queries"], gradient["queries"])):  # fmt: skip
        # Adam's first step with Nesterov's momentum (Dozat 2016).
        np.testing.assert_allclose(found, -0.5 * (1 + 0.09 / 0.19) * np.sign(of), rtol=1e-3)


def test_every_kernel_of_a_model_is_a_matrix(tiny):
    from tests.runs import new_state

    params = new_state(tiny).params
    names = {
        jax.tree_util.keystr(path, simple=True, separator="/"): dims
        for path, dims in jax.tree_util.tree_leaves_with_path(
            kernels(params), is_leaf=lambda x: x is None or hasattr(x, "reduction_axis")
        )
    }
    assert {name.split("/")[-1] for name, dims in names.items() if dims} == {"kernel"}
    assert all(dims for name, dims in names.items() if name.endswith("kernel"))


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"name": "sgd"}, r"config\.optimizer\.name is 'sgd'; it must be one of adam, muon"),
        (
            {"name": "adam", "b1": 1.0},
            r"config\.optimizer\.b1 is 1\.0; it must be from 0 to below 1",
        ),
        ({"name": "muon", "b1": 0.9}, r"config\.optimizer\.b1 is no field; there are beta"),
    ],
)
def test_wrong_optimizers_are_one_sentence(tiny, section, sentence):
    tiny.optimizer = section
    with pytest.raises(UserError, match=sentence):
        build(tiny)
