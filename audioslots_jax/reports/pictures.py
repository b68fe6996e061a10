"""Pictures of separated mixtures, in the style of the paper's figure 2."""

import io
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib import image
from matplotlib.figure import Figure

CELL_INCHES = (1.6, 1.7)  # of a spectrogram, with the space to its right and above
GAP_INCHES, MARGIN_INCHES = 0.25, 0.4


def draw(
    mixtures: Float[np.ndarray, "example frequency time"],
    sources: Float[np.ndarray, "example source frequency time"],
    estimates: Mapping[str, Float[np.ndarray, "example source frequency time"]],
    *,
    crop_seconds: float,
    sample_rate: int,
) -> Figure:
    """Returns, per example, the mixture above, below it each true source beside its estimates.

    All spectrograms are compressed magnitudes; an example shares one colour scale. Each name of
    ``estimates`` is a column; ``sample_rate`` is in Hz.
    """
    examples, count = sources.shape[:2]
    shown = {"source": sources, **estimates}
    across = CELL_INCHES[0] * len(shown)  # of the cells of an example
    width = examples * (across + MARGIN_INCHES)
    height = (count + 1) * CELL_INCHES[1] + MARGIN_INCHES
    figure = Figure(figsize=(width, height))
    extent = (0, crop_seconds, 0, sample_rate / 2000)
    for example in range(examples):
        left = MARGIN_INCHES + example * (across + MARGIN_INCHES)
        cells = [("mixture", mixtures[example], 0, 0, across)]
        for i in range(count):
            cells += [
                (f"{name} {i + 1}", values[example, i], i + 1, place, CELL_INCHES[0])
                for place, (name, values) in enumerate(shown.items())
            ]
        for name, spectrogram, row, place, cell in cells:
            # In a place of our own: a layout by Matplotlib takes longer than all of the drawing.
            x, y = left + place * CELL_INCHES[0], height - (row + 1) * CELL_INCHES[1]
            size = (cell - GAP_INCHES) / width, (CELL_INCHES[1] - GAP_INCHES) / height
            axis = figure.add_axes((x / width, y / height, *size))
            axis.imshow(
                spectrogram, origin="lower", aspect="auto", extent=extent, vmin=0,
                vmax=mixtures[example].max(), cmap="magma", interpolation="nearest",
            )  # fmt: skip
            axis.set_title(name, fontsize=8, y=1, pad=3)
            axis.tick_params(labelsize=6)
            if place:
                axis.set_yticks([])
            if row < count:
                axis.set_xticks([])
            if example == row == 0:
                axis.set_ylabel("kHz", fontsize=7)
            if place == 0 and row == count:
                axis.set_xlabel("s", fontsize=7)
    return figure


def png(figure: Figure) -> bytes:
    """Returns the figure as a PNG file."""
    buffer = io.BytesIO()
    # Matplotlib would put its version into the file.
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def pixels(png: bytes) -> np.ndarray:
    """Returns the picture of a PNG file as (height, width, 3) numbers in [0, 1]."""
    return image.imread(io.BytesIO(png), format="png")[..., :3]
