"""The step benchmark compares equal work."""

import jax
import numpy as np
import pytest

from audioslots_jax.data.batch import Batch, crop_samples
from audioslots_jax.training.step import make_task
from experiments.step_speed import run


@pytest.fixture
def small(tiny):
    """A config with one block of each sort; with 8 channels torch 2.15 crashes on some CPUs."""
    tiny.stft.edges, tiny.data.crop_seconds = "chunk_edge", 0.1375
    tiny.model.encoder.update(root_width=16, blocks=(1,), widths=(16,), strides=(2,))
    tiny.model.slot_module.layers = 1
    return tiny


@pytest.fixture
def sources(small):
    shape = (3, 2, crop_samples(small.data))
    return np.random.default_rng(0).normal(0, 0.05, shape).astype(np.float32)


def test_the_twin_computes_our_loss_and_gradients(small, sources):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    from experiments.step_speed import torch_twin

    task, params = make_task(small), run.parameters(small)
    batch = jax.tree.map(jax.numpy.asarray, Batch.of(sources))
    loss, gradients = jax.jit(jax.value_and_grad(task.loss))(params, batch, jax.random.key(0))

    config = torch_twin.read_config(small.to_json_best_effort())
    theirs = torch_twin.load(run.named(params))
    mixture, targets = torch_twin.magnitudes(config.stft, torch.from_numpy(sources))
    twin_loss = torch_twin.loss(theirs, config, mixture, targets)
    twin_loss.backward()
    np.testing.assert_allclose(twin_loss.item(), loss, rtol=1e-4)
    ours = {name: torch_twin.layout(name, array) for name, array in run.named(gradients).items()}
    assert ours.keys() == theirs.keys()
    # Only rounding is left of the gradients of the keys' biases, which the softmax takes out.
    rounding = 1e-7 * max(np.abs(gradient).max() for gradient in ours.values())
    for name, gradient in ours.items():
        atol = 1e-4 * np.abs(gradient).max() + rounding
        np.testing.assert_allclose(theirs[name].grad, gradient, rtol=1e-4, atol=atol, err_msg=name)


@pytest.mark.parametrize("edges", ["centred", "chunk_edge"])
def test_the_twin_hears_what_we_hear(small, sources, edges):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    from experiments.step_speed import torch_twin

    small.stft.edges = edges
    front_end = make_task(small).separator.front_end
    config = torch_twin.read_config(small.to_json_best_effort())
    theirs = torch_twin.magnitudes(config.stft, torch.from_numpy(sources))
    for magnitudes, waveforms in zip(theirs, (sources.sum(1), sources), strict=True):
        ours = front_end.magnitudes(jax.numpy.asarray(waveforms))
        np.testing.assert_allclose(magnitudes, ours, rtol=1e-3, atol=1e-4)


def test_a_config_is_timed(small, monkeypatch):
    """Without the twin, whose compilation takes longer than all else."""
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    with jax.numpy_dtype_promotion("standard"):  # Adam in optax promotes types
        result = run.compare(small, rounds=2, seconds=0.0)
    assert result["batch"] == 4
    assert min(result["seconds"]["jax"]) > 0
    line = run.summary(result, "NVIDIA H200")
    assert "ms a step of 0." in line
    assert "torch is not installed" in line
