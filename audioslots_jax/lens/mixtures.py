"""Where a run's mixtures come from: what it left on disk, or its data set."""

import contextlib
import csv
import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from audioslots_jax.data import data_sets
from audioslots_jax.data.batch import HELD_OUT_SEED, Mixtures, Named, Whole
from audioslots_jax.data.wholes import WHOLE_SECONDS, held_out_wholes
from audioslots_jax.errors import UserError
from audioslots_jax.evaluation.whole import EVALUATION
from audioslots_jax.inference.recordings import RecordingSeparator
from audioslots_jax.workdir import read_data

CANDIDATES = 5  # whole mixtures, of which the worst, the median and the best are shown
RANKS = ("worst", "median", "best")


class Listed(NamedTuple):
    """Mixtures to hear.

    Attributes:
      wholes: their sound.
      names: who their sources are, where that is known.
      titles: of each; empty if they are to be ranked by their scores.
      origin: where they come from, in a sentence.
    """

    wholes: list[Whole]
    names: list[tuple[str, ...]]
    titles: list[str]
    origin: str


class HeldOut(NamedTuple):
    """Held-out mixtures of a data set: crops as the training is scored on, and longer ones."""

    crops: Mixtures
    longer: Mixtures


def open_held_out(separator: RecordingSeparator, workdir: Path) -> HeldOut:
    """Opens the mixtures that chose the checkpoint of a run.

    Raises:
      UserError: if its recordings are gone.
    """
    record = read_data(workdir)
    data_set = data_sets.make(separator.config["data"])
    longer = dataclasses.replace(data_set, crop_seconds=WHOLE_SECONDS)  # type: ignore[type-var]
    # What the recordings are was told when the run began.
    with contextlib.redirect_stdout(io.StringIO()):
        opened, lasting = data_set.open(record.held_out), longer.open(record.held_out)
    return HeldOut(opened.validation, lasting.validation)


def from_data(held_out: HeldOut) -> Listed:
    """Returns long held-out mixtures of a run's data."""
    wholes = list(held_out_wholes(held_out.longer, "held-out mixture", CANDIDATES))
    names: list[tuple[str, ...]] = []
    if isinstance(held_out.longer, Named):
        names = [held_out.longer.names(HELD_OUT_SEED, i, 0, 1) for i in range(len(wholes))]
    origin = (
        f"Of {CANDIDATES} mixtures of {WHOLE_SECONDS:g} s of voices that training never drew (they "
        "chose the checkpoint), these are the worst, the median and the best."
    )
    return Listed(wholes, names, [], origin)


def evaluated(workdir: Path) -> Listed | None:
    """Returns the mixtures that ``--mode=evaluate`` left, if it did.

    Raises:
      UserError: if a file is damaged.
    """
    folder = workdir / EVALUATION
    try:
        with open(folder / "scores.csv", newline="") as file:
            number = sum(1 for _ in csv.DictReader(file))
    except OSError:
        return None
    wholes = [read_whole(folder / rank, rank) for rank in RANKS if (folder / rank).is_dir()]
    origin = (
        f"Of {number} whole test mixtures that --mode=evaluate scored, these are the worst, the "
        "median and the best."
    )
    return Listed(wholes, [], [rank.capitalize() for rank in RANKS], origin) if wholes else None


def left(workdir: Path) -> Listed:
    """Returns the held-out crops that the training left, if any."""
    folders = sorted(path.parent for path in (workdir / "separated").glob("*/mixture.wav"))
    wholes = [read_whole(folder, f"mixture {folder.name}") for folder in folders]
    origin = "These are the held-out crops that the training left in the run's folder."
    return Listed(wholes, [], [], origin)


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
    places = (0, len(order) // 2, -1)
    return [(rank.capitalize(), order[place]) for rank, place in zip(RANKS, places, strict=True)]
