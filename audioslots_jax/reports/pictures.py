"""Pictures of separated mixtures, in the style of the paper's figure 2."""

import io
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib import image
from matplotlib.figure import Figure

CELL_INCHES = (1.6, 1.7)


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
    width = examples * ((1 + len(estimates)) * CELL_INCHES[0] + 0.3)
    height = (count + 1) * CELL_INCHES[1] + 0.3
    figure = Figure(figsize=(width, height), layout="constrained")
    extent = (0, crop_seconds, 0, sample_rate / 2000)
    columns = figure.subfigures(1, examples, squeeze=False)[0]
    shown = {"source": sources, **estimates}
    for example, column in enumerate(columns):
        images, rows = {"mixture": mixtures[example]}, [["mixture"] * len(shown)]
        for i in range(count):
            row = {f"{name} {i + 1}": values[example, i] for name, values in shown.items()}
            images |= row
            rows.append(list(row))
        axes = column.subplot_mosaic(rows, sharex=True, sharey=True)
        for name, axis in axes.items():
            axis.imshow(
                images[name], origin="lower", aspect="auto", extent=extent, vmin=0,
                vmax=mixtures[example].max(), cmap="magma", interpolation="nearest",
            )  # fmt: skip
            axis.set_title(name, fontsize=8)
            axis.tick_params(labelsize=6)
        if example == 0:
            axes["mixture"].set_ylabel("kHz", fontsize=7)
        axes[f"source {count}"].set_xlabel("s", fontsize=7)
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
