"""Where each slot looks: the attention over the grid, on the mixture's spectrogram."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Float32
from matplotlib import colormaps

from audioslots_jax.inference.gain import Gain
from audioslots_jax.inference.recordings import RecordingSeparator
from audioslots_jax.lens.images import RANGE_DB, Picture, power, webp
from audioslots_jax.separator import Separator

HEIGHT, WIDTH = 96, 128  # of a panel, in pixels
DIMMED = 0.45  # brightness of the spectrogram under the attention


class Looks(NamedTuple):
    """Where the slots look in one chunk of a mixture.

    Attributes:
      start, seconds: of the chunk.
      competes: whether slots divide each cell among themselves, rather than cells a slot.
      panels: pictures by layer, slot and head.
    """

    start: float
    seconds: float
    competes: bool
    panels: list[list[list[Picture]]]


def looks(separator: RecordingSeparator, mixture: Float32[np.ndarray, " sample"]) -> Looks | None:
    """Returns where slots look in the loudest crop of a mixture at the model's rate.

    None if the slot module has no attention. A slot that came later in the network is below.
    """
    crop, rate = separator.crop, separator.sample_rate
    padded = np.pad(mixture, (0, max(crop - len(mixture), 0)))
    energy = np.concatenate([np.zeros(1), np.cumsum(np.square(padded, dtype=np.float64))])
    start = int(np.argmax(energy[crop:] - energy[:-crop]))
    chunk = padded[start : start + crop]
    gain = Gain(separator.level, crop)(chunk[None, None])
    weights = _attention(separator.separator, separator.params, chunk[None], gain)
    if weights is None:
        return None
    weights = np.asarray(weights, np.float32)
    below = np.log10(np.maximum(power(chunk, rate), 1e-12))
    grey = np.clip(1 + 10 * (below - below.max()) / RANGE_DB, 0, 1)
    competes = bool(np.allclose(weights.sum(axis=2), 1, atol=1e-2))
    panels = [
        [
            [
                panel(grey, head[slot], f"layer {layer}, slot {slot + 1}, head {number}")
                for number, head in enumerate(heads, start=1)
            ]
            for slot in range(weights.shape[2])
        ]
        for layer, heads in enumerate(weights, start=1)
    ]
    return Looks(start / rate, crop / rate, competes, panels)


def panel(
    grey: Float[np.ndarray, "frequency time"],
    weights: Float[np.ndarray, "grid_frequency grid_time"],
    name: str,
) -> Picture:
    """Returns attention, in colours up to its highest, over a spectrogram from 0 to 1.

    Its text says where most of it lies.
    """
    back = DIMMED * _sized(grey)[..., None]
    shown = _sized(weights / max(float(weights.max()), 1e-12))[..., None]
    colour = colormaps["inferno"](0.35 + 0.65 * shown[..., 0])[..., :3]
    rgb = (255 * (back * (1 - shown) + colour * shown))[::-1]
    row, column = np.unravel_index(np.argmax(weights), weights.shape)
    where = [
        f"{100 * (cell + 0.5) / cells:.0f} % of the {axis}"
        for cell, cells, axis in zip(
            (column, row), weights.shape[::-1], ("time", "band"), strict=True
        )
    ]
    alt = f"Attention of {name}: highest at {' and '.join(where)}"
    return webp(rgb.astype(np.uint8), alt)


def _sized(values: Float[np.ndarray, "row column"]) -> Float[np.ndarray, "height width"]:
    """Returns the nearest of the values for every pixel of a panel."""
    rows = np.arange(HEIGHT) * values.shape[0] // HEIGHT
    columns = np.arange(WIDTH) * values.shape[1] // WIDTH
    return values[rows[:, None], columns[None]]


@functools.partial(jax.jit, static_argnums=0)
def _attention(
    separator: Separator,
    params: Any,
    mixture: Float[Array, "batch sample"],
    gain: Float[Array, ""],
) -> Float[Array, "layer head slot frequency time"] | None:
    named = separator(params, mixture, gain=gain).named
    return named["attention"][0] if "attention" in named else None
