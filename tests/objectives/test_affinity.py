import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import STFT, Batch, Estimates, FrontEnd, UserError, matching, objectives
from audioslots_jax.objectives.affinity import affinity_loss

FRONT_END = FrontEnd(STFT(32, 16), 0.3)


def test_it_is_the_error_of_all_pairs():
    random = np.random.default_rng(0)
    cells = random.normal(size=(2, 9, 3)).astype(np.float32)
    owners = np.eye(2, dtype=np.float32)[random.integers(2, size=(2, 9))]
    weights = random.uniform(size=(2, 9)).astype(np.float32)
    pairs = weights[:, :, None] * weights[:, None]
    affinity = [x @ np.swapaxes(x, 1, 2) for x in (cells, owners)]
    expected = (pairs * (affinity[0] - affinity[1]) ** 2).sum((1, 2)) / pairs.sum((1, 2))
    np.testing.assert_allclose(
        affinity_loss(*map(jnp.asarray, (cells, owners, weights))), expected, rtol=1e-4
    )


def loss(sources, embeddings):
    """Of two mixtures, of any embeddings of their cells."""
    batch = Batch(sources.sum(axis=1), sources, jnp.ones(sources.shape[:2], bool))
    magnitudes = FRONT_END.magnitudes(sources)
    estimates = Estimates(
        sources, magnitudes, magnitudes, jnp.zeros((2, 2, 1)), {"embeddings": embeddings}
    )
    return objectives.build({"affinity": {}}, FRONT_END, matching.assign)(estimates, batch)


def test_embeddings_that_point_to_the_loudest_source_cost_nothing():
    """Of any length, and in any directions that are at right angles."""
    sources = jax.random.normal(jax.random.key(0), (2, 2, 64))
    loudest = np.swapaxes(np.argmax(FRONT_END.magnitudes(sources), axis=1), 1, 2)
    directions = np.array([[3.0, 4.0, 0.0], [-0.4, 0.3, 0.0]], np.float32)
    np.testing.assert_allclose(loss(sources, jnp.asarray(directions[loudest])), 0, atol=1e-6)
    assert loss(sources, jnp.asarray(directions[1 - loudest])).max() < 1e-6
    assert loss(sources, jnp.ones((*loudest.shape, 3))).min() > 0.1


def test_silence_has_a_gradient():
    for level in (0.0, 1e-9):
        sources = level * jax.random.normal(jax.random.key(0), (2, 2, 64))
        batch, frequencies, times = FRONT_END.magnitudes(sources)[:, 0].shape
        shape = (batch, times, frequencies, 3)
        for embeddings in (jnp.zeros(shape), jnp.ones(shape)):
            gradient = jax.grad(lambda x, s=sources: loss(s, x).sum())(embeddings)
            assert np.isfinite(gradient).all()


def test_an_encoder_without_embeddings_is_refused():
    sources = jnp.ones((2, 2, 64))
    batch = Batch(sources.sum(axis=1), sources, jnp.ones((2, 2), bool))
    magnitudes = FRONT_END.magnitudes(sources)
    estimates = Estimates(sources, magnitudes, magnitudes, jnp.zeros((2, 2, 1)), {})
    with pytest.raises(UserError, match=r"config\.objectives\.affinity needs an encoder"):
        objectives.build({"affinity": {}}, FRONT_END, matching.assign)(estimates, batch)
