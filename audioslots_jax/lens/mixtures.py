"""Where a run's mixtures come from: what it left on disk, or its data set."""

import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from audioslots_jax import fields
from audioslots_jax.data import data_sets
from audioslots_jax.data.batch import HELD_OUT_SEED, Mixtures, Named, Whole
from audioslots_jax.data.wholes import held_out_wholes
from audioslots_jax.errors import UserError
from audioslots_jax.evaluation.whole import EVALUATION, require_same_recordings
from audioslots_jax.inference.recordings import RecordingSeparator
from audioslots_jax.workdir import ROOTS, read_data

CANDIDATES = 5  # whole mixtures, of which the worst, the median and the best are shown
RANKS = ("worst", "median", "best")


class Listed(NamedTuple):
    """Mixtures to hear.

    Attributes:
      wholes: their sound.
      names: who their sources are, where that is known.
      titles: of each; empty if they are to be ranked by their scores.
      what: what they are, in words that may follow "These are".
      scored: number of mixtures of which these were chosen, if they were.
    """

    wholes: list[Whole]
    names: list[tuple[str, ...]]
    titles: list[str]
    what: str
    scored: int = 0


class HeldOut(NamedTuple):
    """Held-out mixtures of a data set: crops as the training is scored on, and longer ones.

    Who is heard may be in lists; see `data.batch.Data`.
    """

    crops: Mixtures
    longer: Mixtures | None
    speaker_lists: Mapping[str, Path]


def open_held_out(
    separator: RecordingSeparator, workdir: Path, data: fields.Section | None = None
) -> HeldOut:
    """Opens the mixtures that chose the checkpoint of a run; ``data`` says where they lie now.

    Raises:
      UserError: if its recordings are gone, or others are there.
    """
    record = read_data(workdir)
    moved = {name: value for name, value in (data or {}).items() if name in ROOTS}
    # What the recordings are was printed when the run began.
    with contextlib.redirect_stdout(io.StringIO()):
        opened = data_sets.make(separator.config["data"] | moved).open(record.held_out)
    if record.fingerprint:
        require_same_recordings(record, opened, workdir)
    elif opened.held_out:
        raise UserError(f"{workdir} does not remember what it was not trained on.")
    return HeldOut(opened.validation, opened.longer, opened.speaker_lists)


def from_data(longer: Mixtures, sample_rate: int) -> Listed:
    """Returns long held-out mixtures of a run's data."""
    wholes = list(held_out_wholes(longer, "held-out mixture", CANDIDATES))
    names: list[tuple[str, ...]] = []
    if isinstance(longer, Named):
        names = [longer.names(HELD_OUT_SEED, i, 0, 1) for i in range(len(wholes))]
    seconds = len(wholes[0].mixture) / sample_rate
    what = (
        f"mixtures of {seconds:g} s of voices that training never drew (they chose the checkpoint)"
    )
    return Listed(wholes, names, [], what)


def evaluated(workdir: Path) -> Listed | None:
    """Returns the mixtures that ``--mode=evaluate`` left, if it did.

    Raises:
      UserError: if a file is damaged.
    """
    folder = workdir / EVALUATION
    try:
        with open(folder / "scores.csv", newline="") as file:
            count = sum(1 for _ in csv.DictReader(file))
    except OSError:
        return None
    ranks = [rank for rank in RANKS if (folder / rank).is_dir()]
    if not ranks:
        return None
    wholes = [read_whole(folder / rank, rank) for rank in ranks]
    what = "whole test mixtures that --mode=evaluate scored"
    return Listed(wholes, [], [rank.capitalize() for rank in ranks], what, count)


def left(workdir: Path) -> Listed:
    """Returns the held-out crops that the training left, if any."""
    folders = sorted(path.parent for path in (workdir / "separated").glob("*/mixture.wav"))
    wholes = [read_whole(folder, f"mixture {folder.name}") for folder in folders]
    return Listed(wholes, [], [], "held-out crops that the training left in the run's folder")


def read_whole(folder: Path, name: str) -> Whole:
    """Returns the mixture of a folder with ``mixture.wav``, ``source_1.wav`` and so on.

    Raises:
      UserError: if a file cannot be read.
    """
    try:
        mixture, _ = soundfile.read(folder / "mixture.wav", dtype="float32")
        count = len(list(folder.glob("source_*.wav")))
        paths = [folder / f"source_{number}.wav" for number in range(1, count + 1)]
        sources = [soundfile.read(path, dtype="float32")[0] for path in paths]
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{folder} cannot be read ({error}); run --mode=evaluate again.") from None
    heard = [source for source in sources if source.any()]
    return Whole(name, mixture, np.stack(heard) if heard else np.zeros((0, len(mixture)), "f"))


def ranked(scores: Mapping[int, float]) -> list[tuple[str, int]]:
    """Returns titles and numbers of the worst, the median and the best; of all, if they are few.

    Scores come by the number of their mixture.
    """
    order = sorted(scores, key=lambda index: scores[index])
    if len(order) <= len(RANKS):
        return [(f"Mixture {index + 1}", index) for index in order]
    chosen = (order[0], order[len(order) // 2], order[-1])
    return [(rank.capitalize(), index) for rank, index in zip(RANKS, chosen, strict=True)]


def origin(what: str, count: int, titles: Sequence[str]) -> str:
    """Returns where the mixtures with these titles come from, in a sentence.

    Those that have ranks are of ``count`` that have a score.
    """
    ranks = [f"the {rank}" for rank in RANKS if rank.capitalize() in titles]
    if not ranks:
        return f"These are {what}."
    *others, last = ranks
    which = f"these are {', '.join(others)} and {last}" if others else f"this is {last}"
    return f"Of {count} {what}, {which}."
