"""Table 1 of the paper, and where each decibel goes; README.md beside this file tells more."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from tqdm import tqdm

from audioslots_jax import UserError
from audioslots_jax.audio import MASKS
from audioslots_jax.data.batch import Whole
from audioslots_jax.data.files import write_atomically
from audioslots_jax.data.libri2mix import SPLITS, Libri2Mix
from audioslots_jax.evaluation.scores import score
from audioslots_jax.reports import pictures
from experiments.table1.estimators import CHUNKS, EDGES, ORACLE, STITCHINGS, Estimator, load
from experiments.table1.figure import draw
from experiments.table1.tables import ROWS, Cell, Line, as_csv, as_markdown

MODES: dict[str, dict[str, Any]] = {
    "min": {"mode": "min"},
    "max10": {"mode": "max", "seconds": 10.0},
}
NETWORKS = ("autoencoder", "audioslots")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; mistakes end as one sentence.

    Returns:
      The exit code: 0, 2 after a mistake, 130 after Ctrl-C.
    """
    flags = parse(argv)
    try:
        print(run(flags))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written.", file=sys.stderr)
        return 130
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Returns the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--librimix", metavar="ROOT", type=Path, required=True,
        help="holds LibriSpeech/ and metadata/Libri2Mix/, or is a store made of such a folder",
    )  # fmt: skip
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--limit", metavar="N", type=_positive, help="the first N mixtures alone")
    parser.add_argument(
        "--rows", metavar="ROW,...", type=_rows,
        help=f"of {', '.join(ROWS)}; by default those that need no run and those that have one",
    )  # fmt: skip
    parser.add_argument(
        "--autoencoder", metavar="RUN", type=Path, action="append", default=[],
        help="a run with one slot, for the rows autoencoder; once per chunk length",
    )  # fmt: skip
    parser.add_argument(
        "--model", metavar="RUN", type=Path, action="append", default=[], dest="audioslots",
        help="a run with two slots, for the rows audioslots; once per chunk length",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True,
        help="gets table.csv, table.md and figure2.png",
    )  # fmt: skip
    return parser.parse_args(argv)


def run(flags: argparse.Namespace) -> str:
    """Scores the rows and writes the tables and the figure.

    Returns:
      The tables.

    Raises:
      UserError: for rows that lack their run, runs that do not fit, mixtures that cannot be read or
        scored, and a folder that cannot be written.
    """
    rows = flags.rows or ["floor", "oracle", *(row for row in NETWORKS if vars(flags)[row])]
    networks = load_networks(rows, {row: vars(flags)[row] for row in NETWORKS})
    modes = {
        name: Libri2Mix(flags.librimix, flags.split, **options)[: flags.limit]
        for name, options in MODES.items()
    }
    folder = flags.output.expanduser()
    write(folder, {})  # a folder that cannot be is better known before the scores than after
    estimators = [ORACLE, *networks] if "oracle" in rows else networks
    lines = score_modes(modes, estimators, with_floor="floor" in rows)
    table = as_markdown(lines, flags.split)
    figure = draw(modes["max10"], networks or [ORACLE])
    files = {"table.csv": as_csv(lines).encode(), "table.md": table.encode()}
    write(folder, {**files, "figure2.png": pictures.png(figure)})
    return table


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files by name into a folder, which is made if it does not exist.

    Raises:
      UserError: if that fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}); choose another --output."
        ) from None


def load_networks(rows: Sequence[str], runs: Mapping[str, Sequence[Path]]) -> list[Estimator]:
    """Returns the networks of the rows that need one.

    Raises:
      UserError: if a row has no run, or two for one chunk length.
    """
    loaded: dict[tuple[str, float], Estimator] = {}
    for row in (row for row in NETWORKS if row in rows):
        flag = "--model" if row == "audioslots" else f"--{row}"
        if not runs[row]:
            raise UserError(f"the row {row} needs a trained network: {flag} RUN.")
        for path in runs[row]:
            network = load(path, row)
            (seconds,) = network.chunks
            if (row, seconds) in loaded:
                raise UserError(
                    f"{path} is the second run with chunks of {seconds:g} s; give {flag} once per "
                    "chunk length."
                )
            loaded[row, seconds] = network
    return list(loaded.values())


def score_modes(
    modes: Mapping[str, Libri2Mix], estimators: Sequence[Estimator], *, with_floor: bool
) -> list[Line]:
    """Returns every cell of the table, with its means over the mixtures."""
    ways = [
        (estimator, (seconds, protocol, mask, stitching))
        for estimator in estimators
        for seconds in estimator.chunks
        for protocol in EDGES
        for stitching in STITCHINGS
        for mask in MASKS
    ]
    scores: dict[Cell, list[np.ndarray]] = defaultdict(list)

    def add(cell: Cell, whole: Whole, estimates: np.ndarray) -> None:
        own = score(whole, estimates, CHUNKS[cell.chunk_seconds or 0.5])
        means = [np.mean(own.si_snr), np.mean(own.si_snri), own.swaps]
        scores[cell].append(np.array(means))

    bar = tqdm(
        total=sum(map(len, modes.values())),
        unit="mixture",
        # A log file wants a line now and then, not ten a second.
        mininterval=0.1 if sys.stderr.isatty() else 10,
    )
    with bar:
        for mode, mixtures in modes.items():
            for mixture in mixtures:
                whole = Whole(mixture.mixture_id, mixture.mixture, mixture.sources)
                if with_floor:
                    floor = np.broadcast_to(whole.mixture, whole.sources.shape)
                    add(Cell("floor", None, "-", mode, "-", "-"), whole, floor)
                for estimator, way in ways:
                    seconds, protocol, mask, stitching = way
                    cell = Cell(estimator.row, seconds, protocol, mode, mask, stitching)
                    add(cell, whole, estimator.estimates(whole, *way))
                bar.update()
    return [Line.over(cell, np.array(values)) for cell, values in scores.items()]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _rows(text: str) -> list[str]:
    rows = text.split(",")
    for row in rows:
        if row not in ROWS:
            raise argparse.ArgumentTypeError(f"{row!r} is no row; there are {', '.join(ROWS)}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
