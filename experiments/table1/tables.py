"""The table as CSV, and as Markdown tables."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

ROWS = {
    "floor": "Floor (mixture)",
    "oracle": "Oracle",
    "autoencoder": "Autoencoder",
    "audioslots": "AudioSlots",
}
MASK_NAMES = {"ibm": "IBM", "wiener": "Wiener-like"}
COLUMNS = (
    "row", "chunk_seconds", "protocol", "mixture_mode", "mask", "stitching", "si_snr",
    "si_snr_stderr", "si_snri", "mixtures",
)  # fmt: skip


class Cell(NamedTuple):
    """What is scored, and how; ``-`` and None where something has no part in it.

    Attributes:
      row: a name in `ROWS`.
      chunk_seconds: length of a chunk.
      protocol: of the STFT, A or B.
      mixture_mode: min or max10.
      mask: ibm or wiener.
      stitching: oracle (by the ground truth) or blind.
    """

    row: str
    chunk_seconds: float | None
    protocol: str
    mixture_mode: str
    mask: str
    stitching: str


class Line(NamedTuple):
    """A cell and its scores.

    Attributes:
      cell: what was scored.
      si_snr: mean over the mixtures, in dB.
      si_snr_stderr: the standard error of that mean; NaN for one mixture.
      si_snri: mean improvement over the mixture, in dB.
      swaps: mean number of chunks per mixture in another order than the mixture as a whole.
      mixtures: their number.
    """

    cell: Cell
    si_snr: float
    si_snr_stderr: float
    si_snri: float
    swaps: float
    mixtures: int

    @classmethod
    def over(cls, cell: Cell, scores: Float[np.ndarray, "mixture 3"]) -> "Line":
        """Returns the means of SI-SNR, SI-SNRi and swaps of each mixture."""
        count = len(scores)
        error = np.std(scores[:, 0], ddof=1) / np.sqrt(count) if count > 1 else np.nan
        si_snr, si_snri, swaps = scores.mean(axis=0).tolist()
        return cls(cell, si_snr, float(error), si_snri, swaps, count)


def as_csv(lines: Sequence[Line]) -> str:
    """Returns ``table.csv``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        chunk = "-" if line.cell.chunk_seconds is None else f"{line.cell.chunk_seconds:g}"
        scores = (f"{value:.4f}" for value in (line.si_snr, line.si_snr_stderr, line.si_snri))
        writer.writerow([line.cell.row, chunk, *line.cell[2:], *scores, line.mixtures])
    return text.getvalue()


def as_markdown(lines: Sequence[Line], split: str) -> str:
    """Returns ``table.md``: the paper's Table 1, all ways to score, and how blind stitching did."""
    scored = {line.cell: line for line in lines}
    text = [
        f"# Libri2Mix {split}, {lines[0].mixtures} mixtures", "",
        "SI-SNR and SI-SNRi in dB: the mean of two sources, then over mixtures ± standard error.",
        "",
    ]  # fmt: skip
    text += paper_table(scored)
    text += [
        "## All ways to score: SI-SNR in dB", "",
        "The floor is the mixture itself as each estimate. Oracle stitching orders the slots of",
        "each chunk by the ground truth; blind stitching uses no truth, but chunks that overlap by",
        "three quarters.",
        "",
    ]  # fmt: skip
    text += all_ways(scored, lambda line: f"{line.si_snr:.2f}")
    if any(line.cell.stitching == "blind" for line in lines):
        text += ["## Chunks per mixture that blind stitching left in another order than the rest"]
        blind = {cell: line for cell, line in scored.items() if cell.stitching == "blind"}
        text += ["", *all_ways(blind, lambda line: f"{line.swaps:.2f}")]
    return "\n".join(text)


def paper_table(scored: dict[Cell, Line]) -> list[str]:
    """Returns Table 1 as in the paper; rows that were not scored are left out."""
    body = []
    for seconds in (0.5, 1.0):
        for row, name in ROWS.items():
            cells = [Cell(row, seconds, "A", "max10", mask, "oracle") for mask in MASK_NAMES]
            if all(cell in scored for cell in cells):
                scores = [
                    f"{scored[cell].si_snr:.2f} ± {scored[cell].si_snr_stderr:.2f} | "
                    f"{scored[cell].si_snri:.2f}"
                    for cell in cells
                ]
                body.append(f"| {name}{' (1 s)' if seconds == 1 else ''} | {' | '.join(scores)} |")
    if not body:
        return []
    heads = [f"{mask} {score}" for mask in MASK_NAMES.values() for score in ("SI-SNR", "SI-SNRi")]
    return [
        "## As in the paper's Table 1: oracle stitching", "",
        "Mixtures of 10 s (mode max), protocol A, slots of every chunk in the order that fits the",
        "ground truth best.", "",
        f"| | {' | '.join(heads)} |", "| --- |" + " --- |" * len(heads), *body, "",
    ]  # fmt: skip


def all_ways(scored: dict[Cell, Line], show: Callable[[Line], str]) -> list[str]:
    """Returns a line per way to score; from left to right, from the floor to the ceiling."""
    rows = [row for row in ROWS if any(cell.row == row for cell in scored)]
    floors = {cell.mixture_mode: line for cell, line in scored.items() if cell.row == "floor"}
    networks = [row for row in reversed(rows) if row != "floor"]
    heads = ["mixtures", "chunk", "protocol", "stitching", *(["floor"] if floors else [])]
    heads += [f"{ROWS[row]}, {mask}" for row in networks for mask in MASK_NAMES.values()]
    text = [f"| {' | '.join(heads)} |", "| --- |" + " --- |" * (len(heads) - 1)]
    ways = {(c.mixture_mode, c.chunk_seconds, c.protocol, c.stitching): c for c in scored}
    for mode, seconds, protocol, stitching in ways:
        if seconds is None and networks:
            continue
        chunk = "-" if seconds is None else f"{seconds:g} s"
        cells = [mode, chunk, protocol, f"{stitching} stitching" if seconds else "-"]
        cells += [show(floors[mode])] if floors else []
        for row in networks:
            for mask in MASK_NAMES:
                line = scored.get(Cell(row, seconds, protocol, mode, mask, stitching))
                cells.append(show(line) if line else "-")
        text.append(f"| {' | '.join(cells)} |")
    return [*text, ""]
