import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.models import ResNet


@pytest.mark.parametrize(("frames", "time"), [(64, 8), (128, 16)])
def test_paper_encoder_gives_the_paper_grid(frames, time):
    encoder = ResNet()
    mixture = jnp.zeros((1, 256, frames), jnp.complex64)
    features, params = jax.eval_shape(
        lambda x: encoder.init_with_output(jax.random.key(0), x), mixture
    )
    assert {name: value.shape for name, value in features.named.items()} == {
        "root": (1, 256, frames, 64),
        "stage1": (1, 256, frames, 64),
        "stage2": (1, 128, frames // 2, 128),
        "stage3": (1, 64, frames // 4, 256),
        "stage4": (1, 32, time, 512),
    }
    assert features.grid.shape == features.named["stage4"].shape
    assert features.frames.shape == (time,)
    # torchvision's resnet34 has 21,797,672 parameters, of which 513,000 are its classifier and
    # 9,408 its 7x7 root of 3 channels; ours is 3x3 of 1.
    count = sum(x.size for x in jax.tree.leaves(params))
    assert count == 21_797_672 - 513_000 - 9_408 + 3 * 3 * 64


def test_residual_branches_start_as_identity():
    """At initialisation only the shortcuts carry the signal, so scaling the branches is free."""
    encoder = ResNet((2,), (8,), (1,), 8, 1, 4)
    x = jax.random.normal(jax.random.key(1), (2, 16, 8), jnp.complex64)
    features, _ = encoder.init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(features.named["stage1"], features.named["root"], rtol=1e-6)


def test_columns_know_the_frames_they_see():
    """A sound that moves by the frames between two columns moves by one column."""
    encoder = ResNet((1, 1), (8, 8), (2, 2), 8, 2, 4)
    sound = jnp.zeros((1, 8, 128), jnp.complex64).at[:, :, 50:54].set(1)
    params = encoder.init(jax.random.key(0), sound)
    apply = jax.jit(encoder.apply)
    features = apply(params, sound)
    np.testing.assert_array_equal(features.frames, 8 * np.arange(16) + 4)
    later = apply(params, jnp.roll(sound, int(features.frames[1] - features.frames[0]), axis=2))
    np.testing.assert_allclose(later.grid[:, :, 5:13], features.grid[:, :, 4:12], atol=1e-4)
    assert np.abs(features.grid[:, :, 5:13] - features.grid[:, :, 4:12]).max() > 0.1
