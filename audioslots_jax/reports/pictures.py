"""Pictures of separated mixtures, in the style of the paper's figure 2, and of recordings."""

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib import image
from matplotlib.figure import Figure

from audioslots_jax.data.sound_files import SoundFile

CELL_INCHES = (1.6, 1.7)
COLUMNS, WINDOW = 1000, 1024  # of the picture of a recording, and samples in each
LEVELS = 80.0  # dB from black to the loudest

Extent = tuple[float, float, float, float]  # from and to: seconds, kHz


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


def draw_recordings(paths: Sequence[Path]) -> Figure:
    """Returns spectrograms below each other, in one colour scale of `LEVELS` dB.

    Raises:
      UserError: if a file cannot be read.
    """
    figure = Figure(figsize=(10, 1.9 * len(paths)), layout="constrained")
    axes = figure.subplots(len(paths), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    sketches = [sketch(path) for path in paths]
    loudest = max(float(levels.max()) for levels, _ in sketches)
    for path, (levels, extent), axis in zip(paths, sketches, axes, strict=True):
        axis.imshow(
            levels, origin="lower", aspect="auto", extent=extent, vmin=loudest - LEVELS,
            vmax=loudest, cmap="magma",
        )  # fmt: skip
        axis.set_title(path.name, fontsize=9, loc="left", parse_math=False)
        axis.set_ylabel("kHz", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[-1].set_xlabel("s", fontsize=8)
    return figure


def sketch(path: Path) -> tuple[Float[np.ndarray, "frequency time"], Extent]:
    """Returns levels in dB of a recording of any length, in at most `COLUMNS` columns.

    Each is one window of the mean of all channels; what lies between is not looked at. (Files are
    read from end to end, as libsndfile cannot jump to a sample in every format.)
    """
    with SoundFile(path) as file:
        distance = -(-file.frames // (COLUMNS * WINDOW))  # from column to column, in windows
        windows = (
            block[:, start : start + WINDOW]
            for block in file.blocks()
            for start in range(0, block.shape[1], WINDOW)
        )
        chosen = itertools.islice(windows, 0, None, distance)
        frames = np.stack([np.pad(x.mean(axis=0), (0, WINDOW - x.shape[1])) for x in chosen])
    seconds = len(frames) * distance * WINDOW / file.sample_rate
    extent = (0.0, seconds, 0.0, file.sample_rate / 2000)
    magnitudes = np.abs(np.fft.rfft(frames * np.hanning(WINDOW))).T
    return 20 * np.log10(np.maximum(magnitudes, 1e-10)), extent


def png(figure: Figure) -> bytes:
    """Returns the figure as a PNG file."""
    buffer = io.BytesIO()
    # Matplotlib would put its version into the file.
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def pixels(png: bytes) -> np.ndarray:
    """Returns the picture of a PNG file as (height, width, 3) numbers in [0, 1]."""
    return image.imread(io.BytesIO(png), format="png")[..., :3]
