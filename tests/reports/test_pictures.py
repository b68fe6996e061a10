import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from audioslots_jax.reports import pictures


def test_picture_shows_every_spectrogram():
    rng = np.random.default_rng(0)
    figure = pictures.draw(
        rng.uniform(size=(2, 16, 8)), rng.uniform(size=(2, 3, 16, 8)),
        {name: rng.uniform(size=(2, 3, 16, 8)) for name in ("estimate", "other")},
        crop_seconds=0.5, sample_rate=8000,
    )  # fmt: skip
    axes = [axis for part in figure.subfigs for axis in part.axes]
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


@pytest.mark.parametrize(
    ("samples", "options"),
    [
        (300, {}),
        (89_600, {"format": "WAV", "subtype": "GSM610"}),  # has to be read from end to end
        (pictures.COLUMNS * pictures.WINDOW + 1, {}),
        (3_000_000, {}),
    ],
)
def test_a_sketch_shows_sounds_at_their_times_and_frequencies(tmp_path, samples, options):
    """A tone of 1 kHz, then one of 3 kHz, then silence."""
    times = np.arange(samples) / 8000
    tones = np.where(times < times[-1] / 4, np.sin(2000 * np.pi * times), 0)
    tones += np.where(times > times[-1] / 2, np.sin(6000 * np.pi * times), 0)
    tones[3 * samples // 4 :] = 0
    soundfile.write(tmp_path / "x.wav", 0.3 * tones, 8000, **options)
    levels, (begin, end, low, high) = pictures.sketch(tmp_path / "x.wav")
    columns = levels.shape[1]
    assert columns <= pictures.COLUMNS
    assert (begin, low, high) == (0, 0, 4)
    column = end / columns  # seconds
    assert 0 < end - times[-1] <= column + 1e-3
    if columns == 1:
        return
    middles = column * np.arange(columns) + 512 / 8000
    loudest = np.linspace(low, high, len(levels))[levels.argmax(axis=0)]
    for start, stop, kilohertz in ((0, 0.25, 1), (0.5, 0.75, 3)):
        inside = (middles > start * times[-1] + 0.1) & (middles < stop * times[-1] - 0.1)
        assert inside.any()
        np.testing.assert_allclose(loudest[inside], kilohertz, atol=0.02)
    silent = (middles > 0.75 * times[-1] + 0.1) & (middles < times[-1])
    assert levels[:, silent].max() < levels.max() - 40
