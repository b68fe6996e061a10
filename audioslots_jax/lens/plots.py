"""Curves and clouds of points, as pictures by Matplotlib."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from audioslots_jax.lens.images import PALETTE, Picture
from audioslots_jax.lens.sounds import data_uri

INCHES, DPI = (4.6, 2.6), 130
# Left, bottom, width and height of the axes; above them may be a power of ten.
PLACE = (0.14, 0.17, 0.84, 0.76)
COLOURS = 64  # of the picture's palette

Points = tuple[Sequence[float], Sequence[float]]


def curves(
    lines: Sequence[Points],
    axes_names: tuple[str, str],
    alt: str,
    ceilings: Sequence[Points] = (),
) -> Picture:
    """Returns lines in the order of `PALETTE`, and dashed ones that they cannot exceed."""
    figure, axes = _figure(axes_names)
    for number, line in enumerate(lines):
        colour = PALETTE[number % len(PALETTE)]
        axes.plot(*line, color=colour, lw=1.6, marker="o" if len(line[0]) < 20 else "", ms=3)
    for number, line in enumerate(ceilings):
        axes.plot(*line, color=PALETTE[number % len(PALETTE)], lw=1, ls="--")
    return _picture(figure, alt)


def cloud(
    points: Float[np.ndarray, "point 2"],
    colours: Sequence[str] | Float[np.ndarray, " point"],
    axes_names: tuple[str, str],
    alt: str,
    *,
    bar: str = "",
    means: Points | None = None,
) -> Picture:
    """Returns points, each of a colour, or of a value that a ``bar`` names; means are a line."""
    figure, axes = _figure(axes_names)
    x, y = points.T
    drawn = axes.scatter(x, y, c=colours, s=14, alpha=0.75, linewidths=0)
    if bar:
        beside = figure.colorbar(drawn, ax=axes)
        beside.set_label(bar, fontsize=8)
        beside.ax.tick_params(labelsize=7)
    if means:
        axes.plot(*means, color="black", lw=1.5, marker="s", ms=4)
    return _picture(figure, alt)


def classes(pairs: Sequence[tuple[str, float]], axes_names: tuple[str, str], alt: str) -> Picture:
    """Returns the values of each class above its name, and their mean with its standard error."""
    figure, axes = _figure(axes_names)
    groups = grouped(pairs)
    places = {name: place for place, name in enumerate(groups)}
    x, y = [places[name] for name, _ in pairs], [value for _, value in pairs]
    axes.scatter(x, y, c=PALETTE[0], s=14, alpha=0.75, linewidths=0)
    means, errors, _ = zip(*groups.values(), strict=True)
    beside = [place + 0.12 for place in places.values()]
    axes.errorbar(beside, means, errors, color="black", ls="", lw=1.5, marker="s", ms=3, capsize=4)
    axes.set_xticks([*places.values()], [*places])
    axes.set_xlim(-0.5, len(places) - 0.5)
    return _picture(figure, alt)


def binned(
    x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"], bins: int = 5
) -> list[tuple[float, float, float, float, int]]:
    """Returns bins of equally many points.

    Each is the lowest and highest ``x``, the mean and standard error of ``y``, and their number.
    """
    order = np.argsort(x, kind="stable")
    made = []
    for part in np.array_split(order, min(bins, len(order))):
        error = float(np.std(y[part], ddof=1) / len(part) ** 0.5) if len(part) > 1 else 0.0
        low, high = float(x[part].min()), float(x[part].max())
        made.append((low, high, float(y[part].mean()), error, len(part)))
    return made


def grouped(pairs: Sequence[tuple[str, float]]) -> Mapping[str, tuple[float, float, int]]:
    """Returns the mean, standard error and number of the values of each name."""
    groups: dict[str, list[float]] = {}
    for name, value in pairs:
        groups.setdefault(name, []).append(value)
    return {
        name: (
            float(np.mean(values)),
            float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0,
            len(values),
        )
        for name, values in sorted(groups.items())
    }


def _figure(axes_names: tuple[str, str]) -> tuple[Figure, Axes]:
    """Returns a figure with axes by name, in a place that Matplotlib need not find out."""
    figure = Figure(figsize=INCHES)
    axes = figure.add_axes(PLACE)
    axes.set_xlabel(axes_names[0], fontsize=8)
    axes.set_ylabel(axes_names[1], fontsize=8)
    axes.tick_params(labelsize=7)
    axes.yaxis.get_offset_text().set_fontsize(7)
    axes.grid(alpha=0.25)
    return figure, axes


def _picture(figure: Figure, alt: str) -> Picture:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    image = Image.open(file).convert("RGB").quantize(COLOURS)
    small = io.BytesIO()
    image.save(small, "PNG", optimize=True)
    return Picture(data_uri("image/png", small.getvalue()), *image.size, alt)
