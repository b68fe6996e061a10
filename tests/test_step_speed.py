"""The step benchmark compares equal work: the PyTorch twin, the variants, the count of FLOPs."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.training.step import make_task
from configs import paper, voices
from experiments.step_speed import roofline, run, variants


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def twin_of(config, samples):
    from experiments.step_speed.torch_twin import Twin

    text = config.to_json_best_effort()
    return Twin(json.loads(text, object_hook=lambda fields: SimpleNamespace(**fields)), samples)


@pytest.mark.parametrize(
    ("edges", "slots", "samples"), [("centred", 2, 960), ("chunk_edge", 1, 1100)]
)
def test_the_twin_computes_our_loss_and_gradients(torch, tiny, edges, slots, samples):
    from experiments.step_speed.torch_twin import as_ours

    tiny.stft.edges, tiny.model.slots = edges, slots
    task = make_task(tiny)
    sources = run.noise(3, 2, samples)
    params = run.parameters(task, samples)
    loss, gradients = jax.jit(jax.value_and_grad(task.loss))(params, sources)

    twin = twin_of(tiny, samples)
    twin.load(run.named(params))
    theirs = twin(*twin.spectrograms(torch.from_numpy(sources)))
    theirs.backward()
    np.testing.assert_allclose(theirs.item(), loss, rtol=1e-4)
    found = dict(twin.named_parameters())
    expected = dict(as_ours(twin, *item) for item in run.named(gradients).items())
    assert expected.keys() == found.keys()
    # Only rounding is left of the gradients of the keys' biases, which the softmax takes out.
    rounding = 1e-7 * max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        atol = 1e-4 * float(gradient.abs().max()) + rounding
        np.testing.assert_allclose(found[name].grad, gradient, rtol=1e-4, atol=atol, err_msg=name)


def test_the_variants_compute_our_loss_and_gradients():
    config = voices.get_config()
    run.shrink(config)
    task = make_task(config)
    params, sources = run.parameters(task, 960), jnp.asarray(run.noise(3, 2, 960))

    def compute(variant):
        def loss(params):
            with variants.replacing(variant.replaced):
                return task.loss(variant.pack(params), sources)

        return jax.jit(jax.value_and_grad(loss))(params)

    loss, gradients = compute(variants.OURS)
    replacing = [variant for variant in variants.VARIANTS if variant.replaced]
    assert len(replacing) > 5
    for variant in replacing:
        theirs, found = compute(variant)
        np.testing.assert_allclose(theirs, loss, rtol=1e-5, err_msg=variant.name)
        expected = run.named(gradients)
        rounding = 1e-7 * max(np.abs(gradient).max() for gradient in expected.values())
        for name, gradient in run.named(found).items():
            np.testing.assert_allclose(
                gradient, expected[name], rtol=1e-4,
                atol=1e-4 * np.abs(expected[name]).max() + rounding,
                err_msg=f"{name}, {variant.name}",
            )  # fmt: skip


def test_the_count_of_flops_is_that_of_pytorch(torch, tiny):
    """On every layer of the paper's network, at a small size."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    config = paper.get_config()
    config.data.crop_seconds = 0.04
    config.model.encoder.widths = (32, 64, 96, 128)
    config.model.slot_module.update(slot_size=64, width=32)
    twin = twin_of(config, 640)
    mixture, targets = twin.spectrograms(torch.from_numpy(run.noise(1, 2, 640)))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        twin(mixture, targets).backward()
    assert roofline.step_flops(config, 1) == counter.get_total_flops()


def test_a_table_comes_out():
    command = ["experiments/step_speed/run.py", "--quick", "--config=voices", "--rounds=1"]
    done = subprocess.run(
        [sys.executable, *command, "--only=dispatch"], text=True, check=True, stdout=subprocess.PIPE
    )
    assert re.search(
        r"^\| 4 steps in a dispatch (\| [\d.]+ ){2}\| [\d.]+ to [\d.]+ (\| [\d.]+ ){2}\|$",
        done.stdout,
        re.M,
    )
    assert re.search(r"^\| sum \| 10\.69 \|", done.stdout, re.M)
