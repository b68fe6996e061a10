"""Where each slot looks: attention over the grid, or gates of frames, on the spectrogram."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Float32
from matplotlib import colormaps

from audioslots_jax.inference.gain import Gain
from audioslots_jax.inference.recordings import RecordingSeparator
from audioslots_jax.inference.repeated import repeated
from audioslots_jax.lens.images import RANGE_DB, Picture, power, webp
from audioslots_jax.separator import Separator

HEIGHT, WIDTH = 96, 128  # of a panel, in pixels
WIDE = 512  # of a slot's only panel
DIMMED = 0.45  # brightness of the spectrogram under what is shown on it
COMPETES = "The slots divide every cell among themselves; bright is a slot's own."
DIVIDES = "Each slot divides its attention among all cells; bright is where a head looks most."
PASSES = (
    "Each slot starts as a gate over the units of every frame. A bar is a frame's share of what "
    "passes it: those of a slot sum to 1, and the line is what each would have if all were alike. "
    "They are high where the mixture is loud and the gate open to it. Which frequencies a slot "
    "takes, its mask shows."
)


class Looks(NamedTuple):
    """Where the slots look in one chunk of a mixture.

    Attributes:
      start, seconds: of the chunk.
      meaning: how to read the panels, in words.
      attends: whether panels are of heads of attention; if not, each slot has one of its gate.
      panels: pictures by layer, slot and head.
    """

    start: float
    seconds: float
    meaning: str
    attends: bool
    panels: list[list[list[Picture]]]


def looks(separator: RecordingSeparator, mixture: Float32[np.ndarray, " sample"]) -> Looks | None:
    """Returns where slots look in the loudest crop of a mixture at the model's rate.

    None if the slot module has neither attention nor gates.
    """
    crop, rate = separator.crop, separator.sample_rate
    (heard,) = np.concatenate(list(repeated([mixture[None]], crop)), axis=1)
    energy = np.concatenate([np.zeros(1), np.cumsum(np.square(heard, dtype=np.float64))])
    start = int(np.argmax(energy[crop:] - energy[:-crop]))
    chunk = heard[start : start + crop]
    gain = Gain(separator.level, crop)(chunk[None, None])
    found = _looks(separator.separator, separator.params, chunk[None], gain)
    below = np.log10(np.maximum(power(chunk, rate), 1e-12))
    grey = np.clip(1 + 10 * (below - below.max()) / RANGE_DB, 0, 1)
    if "attention" in found:
        weights = np.asarray(found["attention"], np.float32)
        meaning = COMPETES if np.allclose(weights.sum(axis=2), 1, atol=1e-2) else DIVIDES
        return Looks(start / rate, crop / rate, meaning, True, _by_head(grey, weights))
    if "passed" in found:
        shares = frame_shares(np.asarray(found["passed"], np.float32))
        top = float(shares.max())  # of all slots, so that their bars compare
        gates = [[bars(grey, row, top, f"slot {i}")] for i, row in enumerate(shares, start=1)]
        return Looks(start / rate, crop / rate, PASSES, False, [gates])
    return None


def _by_head(
    grey: Float[np.ndarray, "frequency time"],
    weights: Float[np.ndarray, "layer head slot grid_frequency grid_time"],
) -> list[list[list[Picture]]]:
    """Returns a panel per layer, slot and head."""
    return [
        [
            [
                panel(grey, head[slot], f"layer {layer}, slot {slot + 1}, head {number}")
                for number, head in enumerate(heads, start=1)
            ]
            for slot in range(weights.shape[2])
        ]
        for layer, heads in enumerate(weights, start=1)
    ]


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


def frame_shares(passed: Float[np.ndarray, "slot frame"]) -> Float[np.ndarray, "slot frame"]:
    """Returns each frame's share of what passed a slot's gate; those of a slot sum to 1.

    Where nothing passed, all of them are alike.
    """
    totals = passed.sum(axis=1, keepdims=True)
    alike = np.full_like(passed, 1 / passed.shape[1])
    return np.where(totals > 0, passed / np.where(totals > 0, totals, 1), alike)


def bars(
    grey: Float[np.ndarray, "frequency time"],
    shares: Float[np.ndarray, " frame"],
    top: float,
    name: str,
) -> Picture:
    """Returns a bar per frame, as high as the panel at ``top``, over a spectrogram from 0 to 1.

    A line is at the share that all frames would have if they were alike. The text says where the
    highest bar is.
    """
    back = _sized(grey, WIDE)[..., None]
    heights = (np.arange(HEIGHT)[:, None] + 0.5) / HEIGHT * top
    within = (heights < _sized(shares[None], WIDE))[..., None]
    colour = np.array(colormaps["inferno"](0.7)[:3])
    rgb = np.where(within, (DIMMED + (1 - DIMMED) * back) * colour, DIMMED * back)
    even = 1 / len(shares)
    rgb[min(int(even / top * HEIGHT), HEIGHT - 1)] = 1
    highest = int(np.argmax(shares))
    alt = (
        f"Gate of {name}: the frame of which most passes is at "
        f"{100 * (highest + 0.5) / len(shares):.0f} % of the time and has a share of "
        f"{100 * shares[highest]:.1f} %; if all were alike, each would have {100 * even:.1f} %"
    )
    return webp((255 * rgb[::-1]).astype(np.uint8), alt)


def _sized(
    values: Float[np.ndarray, "row column"], width: int = WIDTH
) -> Float[np.ndarray, "height width"]:
    """Returns the nearest of the values for every pixel of a panel."""
    rows = np.arange(HEIGHT) * values.shape[0] // HEIGHT
    columns = np.arange(width) * values.shape[1] // width
    return values[rows[:, None], columns[None]]


@functools.partial(jax.jit, static_argnums=0)
def _looks(
    separator: Separator,
    params: Any,
    mixture: Float[Array, "batch sample"],
    gain: Float[Array, ""],
) -> Mapping[str, Array]:
    """Returns attention (layer, head, slot, frequency, time) or what passed (slot, frame)."""
    named = separator(params, mixture, gain=gain).named
    return {name: named[name][0] for name in ("attention", "passed") if name in named}
