import io

import numpy as np
from PIL import Image

from audioslots_jax.reports import pictures


def test_picture_shows_every_spectrogram():
    rng = np.random.default_rng(0)
    figure = pictures.draw(
        rng.uniform(size=(2, 16, 8)), rng.uniform(size=(2, 3, 16, 8)),
        {name: rng.uniform(size=(2, 3, 16, 8)) for name in ("estimate", "other")},
        crop_seconds=0.5, sample_rate=8000,
    )  # fmt: skip
    axes = figure.axes
    assert len(axes) == 2 * (1 + 3 + 3 + 3)
    assert [axis.get_title() for axis in axes[:4]] == [
        "mixture",
        "source 1",
        "estimate 1",
        "other 1",
    ]
    png = pictures.png(figure)
    pixels = pictures.pixels(png)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    stored = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    np.testing.assert_allclose(pixels, stored / 255, atol=1e-6)
