"""A picture of separated mixtures, in the style of the paper's figure 2."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import image
from matplotlib.figure import Figure

CELL_INCHES = (1.6, 1.7)
SKETCH_COLUMNS, SKETCH_WINDOW, SKETCH_DB = 1000, 1024, 80.0


def draw(
    mixtures: Float[np.ndarray, "example frequency time"],
    sources: Float[np.ndarray, "example source frequency time"],
    estimates: Mapping[str, Float[np.ndarray, "example source frequency time"]],
    *,
    crop_seconds: float,
    sample_rate: int,
) -> Figure:
    """Per example: the mixture above, below it each true source beside its estimates.

    All spectrograms are compressed magnitudes; an example shares one colour scale.

    Args:
      mixtures: one per example.
      sources: of each mixture.
      estimates: of the sources, by the name of what made them; a column each.
      crop_seconds: duration of what is shown.
      sample_rate: in Hz.
    """
    examples, count = sources.shape[:2]
    figure = Figure(
        figsize=(
            examples * ((1 + len(estimates)) * CELL_INCHES[0] + 0.3),
            (count + 1) * CELL_INCHES[1] + 0.3,
        ),
        layout="constrained",
    )
    extent = (0, crop_seconds, 0, sample_rate / 2000)
    columns = figure.subfigures(1, examples, squeeze=False)[0]
    shown = {"source": sources, **estimates}
    for example, column in enumerate(columns):
        axes = column.subplot_mosaic(
            [["mixture"] * len(shown)]
            + [[f"{name} {i + 1}" for name in shown] for i in range(count)],
            sharex=True,
            sharey=True,
        )
        images = {"mixture": mixtures[example]}
        for i in range(count):
            images |= {f"{name} {i + 1}": values[example, i] for name, values in shown.items()}
        brightest = mixtures[example].max()
        for name, axis in axes.items():
            axis.imshow(
                images[name], origin="lower", aspect="auto", extent=extent, vmin=0,
                vmax=brightest, cmap="magma", interpolation="nearest",
            )  # fmt: skip
            axis.set_title(name, fontsize=8)
            axis.tick_params(labelsize=6)
        if example == 0:
            axes["mixture"].set_ylabel("kHz", fontsize=7)
        axes[f"source {count}"].set_xlabel("s", fontsize=7)
    return figure


class Sketch:
    """A spectrogram of a recording of any length, in at most `SKETCH_COLUMNS` columns.

    Each column is one frame of the signal at its place; what lies between is not looked at.
    """

    def __init__(self, samples: int, sample_rate: int):
        """Args:
        samples: length of the recording, which comes in blocks.
        sample_rate: in Hz.
        """
        self.seconds, self.sample_rate = samples / sample_rate, sample_rate
        columns = min(SKETCH_COLUMNS, max(samples // SKETCH_WINDOW, 1))
        self._starts = np.linspace(0, max(samples - SKETCH_WINDOW, 0), columns).astype(int)
        self.frames = np.zeros((columns, SKETCH_WINDOW), np.float32)
        self._seen = 0

    def add(self, block: Float[np.ndarray, " sample"]) -> None:
        """The next samples."""
        end = self._seen + len(block)
        first = np.searchsorted(self._starts + SKETCH_WINDOW, self._seen, "right")
        for frame, start in zip(self.frames[first:], self._starts[first:], strict=True):
            if start >= end:
                break
            low, high = max(start, self._seen), min(start + SKETCH_WINDOW, end)
            frame[low - start : high - start] = block[low - self._seen : high - self._seen]
        self._seen = end

    def decibels(self) -> Float[np.ndarray, "frequency time"]:
        """Magnitudes of the spectrogram."""
        magnitudes = np.abs(np.fft.rfft(self.frames * np.hanning(SKETCH_WINDOW))).T
        return 20 * np.log10(np.maximum(magnitudes, 1e-10))


def draw_recordings(names: Sequence[str], sketches: Sequence[Sketch]) -> Figure:
    """Spectrograms below each other, in one colour scale of `SKETCH_DB`."""
    figure = Figure(figsize=(10, 1.9 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    loudest = max(float(sketch.decibels().max()) for sketch in sketches)
    for name, sketch, axis in zip(names, sketches, axes, strict=True):
        axis.imshow(
            sketch.decibels(), origin="lower", aspect="auto", cmap="magma",
            extent=(0, sketch.seconds, 0, sketch.sample_rate / 2000),
            vmin=loudest - SKETCH_DB, vmax=loudest,
        )  # fmt: skip
        axis.set_title(name, fontsize=9, loc="left", parse_math=False)
        axis.set_ylabel("kHz", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[-1].set_xlabel("s", fontsize=8)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    # Matplotlib would put its version into the file.
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def pixels(png: bytes) -> np.ndarray:
    """The picture of a PNG file as (height, width, 3) numbers in [0, 1]."""
    return image.imread(io.BytesIO(png), format="png")[..., :3]
