import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.models import ResNet


@pytest.mark.parametrize(("frames", "time"), [(64, 8), (128, 16)])
def test_paper_encoder_gives_the_paper_grid(frames, time):
    encoder = ResNet()
    spectrogram = jnp.zeros((1, 256, frames))
    features, params = jax.eval_shape(
        lambda x: encoder.init_with_output(jax.random.key(0), x), spectrogram
    )
    assert {name: value.shape for name, value in features.items()} == {
        "root": (1, 256, frames, 64),
        "stage1": (1, 256, frames, 64),
        "stage2": (1, 128, frames // 2, 128),
        "stage3": (1, 64, frames // 4, 256),
        "stage4": (1, 32, time, 512),
    }
    # torchvision's resnet34 has 21,797,672 parameters, of which 513,000 are its classifier and
    # 9,408 its 7x7 root of 3 channels; ours is 3x3 of 1.
    count = sum(x.size for x in jax.tree.leaves(params))
    assert count == 21_797_672 - 513_000 - 9_408 + 3 * 3 * 64


def test_residual_branches_start_as_identity():
    """At initialisation only the shortcuts carry the signal, so scaling the branches is free."""
    encoder = ResNet((2,), (8,), (1,), 8, 1, 4)
    x = jax.random.normal(jax.random.key(1), (2, 16, 8))
    features, _ = encoder.init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(features["stage1"], features["root"], rtol=1e-6)
