"""Spectrograms, masks and strips of colours, as pictures within a page."""

import io
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib import colormaps
from PIL import Image

from audioslots_jax.lens.sounds import data_uri

COLUMNS, ROWS = 1000, 128  # of a spectrogram, at most
WINDOW_SECONDS = 0.064
RANGE_DB = 70.0  # from black to the loudest
QUALITY = 55  # of WebP
# Of slots, voices and speakers, distinct to people who see few colours too (Wong 2011).
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
LIGHT, DARK, RED = "#d8d8d8", "#a8a8a8", "#d00000"

Power = Float[np.ndarray, "frequency time"]


class Picture(NamedTuple):
    """A picture: its file as text, its size, and what it shows in words."""

    uri: str
    width: int
    height: int
    alt: str


def power(samples: Float[np.ndarray, " sample"], sample_rate: int) -> Power:
    """Returns the power of a sound in up to `ROWS` bands of equal width and `COLUMNS` moments.

    All of the sound is looked at, however long it is. The lowest band comes first.
    """
    window = 2 * round(WINDOW_SECONDS * sample_rate / 2)
    hop = int(np.clip(-(-len(samples) // (COLUMNS - 1)), window // 16, window // 2))
    padded = np.pad(samples, (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[: len(samples) + 1 : hop]
    taper = np.hanning(window).astype(np.float32)
    pooled = -(-len(frames) // COLUMNS)  # frames in a column
    joined = -(-(window // 2) // ROWS)  # bins in a band
    bins = window // 2 // joined * joined
    columns = []
    for start in range(0, len(frames), pooled * 64):  # so many at once, to save memory
        part = frames[start : start + pooled * 64] * taper
        squares = np.square(np.abs(np.fft.rfft(part)))[:, :bins]
        edges = np.arange(0, len(squares), pooled)
        counts = np.diff(edges, append=len(squares))  # the last column may have fewer
        columns.append(np.add.reduceat(squares, edges) / counts[:, None])
    each = np.concatenate(columns).T
    return each.reshape(-1, joined, each.shape[1]).mean(axis=1)


def spectrogram(power: Power, loudest: float, alt: str) -> Picture:
    """Returns a spectrogram in decibels below ``loudest``, a power that is white."""
    rgb = colormaps["magma"](_brightness(power, loudest)[::-1], bytes=True)[..., :3]
    return webp(rgb, alt)


def share(part: Power, whole: Power, loudest: float, alt: str) -> Picture:
    """Returns which share of the ``whole`` a part has, as an amplitude: from blue (0) to yellow.

    It is black where there is nothing to have a share of; see `spectrogram` for ``loudest``.
    """
    amplitude = np.sqrt(np.clip(part / np.maximum(whole, 1e-12), 0, 1))
    heard = np.clip(2 * _brightness(whole, loudest), 0, 1)
    rgb = colormaps["viridis"](amplitude[::-1])[..., :3] * heard[::-1, :, None]
    return webp((255 * rgb).astype(np.uint8), alt)


def _brightness(power: Power, loudest: float) -> Power:
    """Returns 1 for the ``loudest``, and 0 for what is `RANGE_DB` below it."""
    relative = np.maximum(power / max(loudest, 1e-12), 1e-12)
    levels: np.ndarray = np.clip(1 + 10 * np.log10(relative) / RANGE_DB, 0, 1)
    return levels


def webp(rgb: UInt8[np.ndarray, "row column 3"], alt: str) -> Picture:
    """Returns a picture of pixels."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(file, "WEBP", quality=QUALITY, method=2)
    return Picture(data_uri("image/webp", file.getvalue()), rgb.shape[1], rgb.shape[0], alt)


def strip(numbers: Int[np.ndarray, "row column"], colours: tuple[str, ...], alt: str) -> Picture:
    """Returns a pixel per number, in the colour of that number; a page stretches it."""
    image = Image.fromarray((numbers % len(colours)).astype(np.uint8), mode="P")
    image.putpalette(bytes.fromhex("".join(colour[1:] for colour in colours)))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return Picture(data_uri("image/png", file.getvalue()), *image.size, alt)
