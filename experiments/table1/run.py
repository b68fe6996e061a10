"""Table 1 of the paper, and where each decibel goes; README.md beside this file tells more."""

import argparse
import functools
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from audioslots_jax import UserError, scoring
from audioslots_jax.audio import MASKS, STFT
from audioslots_jax.audio.chunks import split
from audioslots_jax.data.files import write_atomically
from audioslots_jax.data.libri2mix import SPLITS, Libri2Mix, Mixture
from audioslots_jax.data.utterances import SAMPLE_RATE
from audioslots_jax.training import pictures
from experiments.table1.estimators import CHUNKS, ORACLE, PROTOCOLS, Estimator, load
from experiments.table1.figure import draw
from experiments.table1.tables import ROWS, Cell, Line, as_csv, as_markdown

MODES: dict[str, dict[str, Any]] = {
    "min": {"mode": "min"},
    "max10": {"mode": "max", "seconds": 10.0},
}
NETWORKS = ("autoencoder", "audioslots")
# What one pass of a network is scored with: masks and stitchings.
KINDS = [(mask, stitching) for stitching in scoring.STITCHINGS for mask in MASKS]
# Mixtures are padded to a multiple of this, so that few shapes are compiled.
PADDING = 5 * SAMPLE_RATE


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
    """The command line."""
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
    """The networks of the rows that need one.

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
    """Every cell of the ladder, with its means over the mixtures."""
    ways = [
        (estimator, seconds, protocol)
        for estimator in estimators
        for seconds in estimator.chunks
        for protocol in PROTOCOLS
    ]
    scorers = [
        make_scorer(e, CHUNKS[seconds], PROTOCOLS[protocol]) for e, seconds, protocol in ways
    ]
    floor = jax.jit(scoring.floor)
    scores: dict[Cell, list[np.ndarray]] = defaultdict(list)
    bar = tqdm(
        total=sum(map(len, modes.values())),
        unit="mixture",
        # A log file wants a line now and then, not ten a second.
        mininterval=0.1 if sys.stderr.isatty() else 10,
    )
    with bar:
        for mode, mixtures in modes.items():
            for mixture in mixtures:
                sources = checked(mixture)
                if with_floor:
                    cell = Cell("floor", None, "-", mode, "-", "-")
                    scores[cell].append(np.array([np.mean(floor(padded(sources))), 0, 0]))
                for (estimator, seconds, protocol), scorer in zip(ways, scorers, strict=True):
                    for kind, values in zip(KINDS, scorer(sources), strict=True):
                        scores[Cell(estimator.row, seconds, protocol, mode, *kind)].append(values)
                bar.update()
    return [Line.over(cell, np.array(values)) for cell, values in scores.items()]


def checked(mixture: Mixture) -> np.ndarray:
    """The sources of a mixture.

    Raises:
      UserError: if one is silent.
    """
    if not np.all(np.any(mixture.sources, axis=1)):
        raise UserError(
            f"mixture {mixture.mixture_id}: a source is silent, and silence has no SI-SNR; leave "
            "the mixture out of the metadata."
        )
    return mixture.sources


def padded(sources: np.ndarray) -> np.ndarray:
    """The sources, with zeros at the end."""
    return np.pad(sources, ((0, 0), (0, -sources.shape[1] % PADDING)))


def make_scorer(
    estimator: Estimator, chunk: int, stft: STFT
) -> Callable[[np.ndarray], Float[np.ndarray, "kind 3"]]:
    """A function from sources to SI-SNR, SI-SNRi (means of the sources) and swaps of `KINDS`."""

    @jax.jit
    def score_kinds(
        params: Any, sources: Float[Array, "source sample"], samples: int
    ) -> Float[Array, "kind 3"]:
        # Chunks without overlap are every second one of those that overlap by half, because the
        # sources are padded to whole chunks: one pass of a network serves both.
        pieces = jnp.swapaxes(split(sources, chunk, chunk // 2), 0, 1)
        magnitudes = estimator.magnitudes(params, pieces, stft)
        masks = jnp.stack([mask(magnitudes) for mask in MASKS.values()])
        found = []
        for stitching in scoring.STITCHINGS:
            protocol = scoring.Protocol(chunk, stft, stitching)
            every = protocol.hop // (chunk // 2)
            score = functools.partial(scoring.score, sources, protocol=protocol, samples=samples)
            scores = jax.vmap(score)(masks[:, ::every])
            means = [jnp.mean(scores.si_snr, axis=1), jnp.mean(scores.si_snri, axis=1)]
            found.append(jnp.stack([*means, scores.swaps.astype(jnp.float32)], axis=1))
        return jnp.concatenate(found)

    def scorer(sources: np.ndarray) -> np.ndarray:
        return np.asarray(score_kinds(estimator.params, padded(sources), sources.shape[1]))

    return scorer


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
