import jax.numpy as jnp
import numpy as np

from audioslots_jax.audio import compress, expand


def test_compression_is_a_power_of_all_bins_but_the_last():
    rng = np.random.default_rng(0)
    spectrogram = rng.standard_normal((2, 5, 7)) + 1j * rng.standard_normal((2, 5, 7))
    compressed = compress(jnp.asarray(spectrogram, jnp.complex64), 0.3)
    np.testing.assert_allclose(compressed, np.abs(spectrogram[:, :4]) ** 0.3, rtol=1e-5)


def test_expansion_inverts_compression_and_counts_negative_as_zero():
    magnitudes = jnp.linspace(0, 10, 12).reshape(3, 4)
    np.testing.assert_allclose(expand(magnitudes**0.3, 0.3), magnitudes, rtol=1e-4)
    assert not np.any(expand(-1 - magnitudes, 0.3))
