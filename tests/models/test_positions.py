import numpy as np
import pytest

from audioslots_jax.models import centres, fourier_features


@pytest.mark.parametrize(("frequencies", "times"), [(256, 64), (32, 8), (1, 3)])
def test_every_cell_has_its_own_code(frequencies, times):
    octaves = [max(1, int(np.ceil(np.log2(cells)))) for cells in (frequencies, times)]
    rows, columns = centres(frequencies) / frequencies, centres(times) / times
    code = np.asarray(fourier_features(rows, columns, *octaves))
    assert code.shape == (frequencies, times, 2 * sum(octaves))
    assert np.abs(code).max() <= 1
    flat = code.reshape(frequencies * times, -1)
    assert len(np.unique(flat.round(4), axis=0)) == frequencies * times


def test_definition():
    code = np.asarray(fourier_features(centres(4) / 4, centres(2, 8) / 16, 2, 1))
    f, t = (3 + 0.5) / 4, (1 + 0.5) * 8 / 16
    expected = [
        *(np.sin(np.pi * f), np.sin(2 * np.pi * f), np.cos(np.pi * f), np.cos(2 * np.pi * f)),
        *(np.sin(np.pi * t), np.cos(np.pi * t)),
    ]
    np.testing.assert_allclose(code[3, 1], expected, atol=1e-6)
