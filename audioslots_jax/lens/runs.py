"""Pages about a run, and about several side by side."""

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from audioslots_jax import fields
from audioslots_jax.data.batch import Whole
from audioslots_jax.data.sexes import read_sexes
from audioslots_jax.errors import UserError
from audioslots_jax.inference.recordings import RecordingSeparator, load
from audioslots_jax.lens import embeddings, history, mixtures, sections
from audioslots_jax.lens.apart import Apart, take_apart
from audioslots_jax.lens.attention import Looks, looks
from audioslots_jax.lens.cards import Card, card
from audioslots_jax.lens.held_out import Crops, crops
from audioslots_jax.lens.mixtures import HeldOut, Listed
from audioslots_jax.lens.page import Section, Table, render
from audioslots_jax.progress import progress
from audioslots_jax.workdir import differences, read_data

SHOWN = 3  # mixtures, where none has a score
AUTOENCODER = "It is an autoencoder, which takes nothing apart, so there is nothing to hear."


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of ``main.py``, by the name it has on the page."""

    name: str
    workdir: Path
    separator: RecordingSeparator

    @property
    def fact(self) -> str:
        """Returns what it is, in a sentence."""
        config, score = self.separator.config, self.separator.score
        parts = config["model"]
        made_of = ", ".join(
            str(parts[part]["name"]) for part in ("encoder", "slot_module", "decoder")
        )
        scored = "" if score is None else f", {score:.2f} dB on held-out crops"
        return (
            f"{self.name}: {parts['slots']} slots of {made_of}; {config['data']['kind']}; step "
            f"{self.separator.step}{scored}"
        )


def open_runs(workdirs: Sequence[Path]) -> list[Run]:
    """Opens runs; a `UserError` tells which is none."""
    names = [workdir.resolve().name for workdir in workdirs]
    unique = len(set(names)) == len(names)
    return [
        Run(name if unique else str(workdir), workdir, load(workdir))
        for name, workdir in zip(names, workdirs, strict=True)
    ]


def run_page(workdir: Path, data: fields.Section | None = None) -> bytes:
    """Returns the page of a run; a section ``data`` of a config says where its recordings lie now.

    Raises:
      UserError: if it is no run, or damaged.
    """
    run = open_runs([workdir])[0]
    if run.separator.separator.slots == 1:
        curves = sections.training({run.name: history.read(workdir)})
        return render(run.name, [run.fact, AUTOENCODER], [curves] if curves else [])
    held_out, problem = _open(run, data)
    sexes, unread = _sexes(held_out)
    listed = _listed(run, held_out)
    # What XLA makes and what Matplotlib draws are done side by side. On a CPU a small network
    # leaves cores idle, so crops and mixtures are, too.
    with ThreadPoolExecutor(2 if jax.default_backend() == "cpu" else 1) as background:
        looked_at = background.submit(_crops, run, held_out)
        chosen = background.submit(_chosen, [run], listed)
        looked = background.submit(lambda: _looked(run, chosen.result()))
        curves = sections.training({run.name: history.read(workdir)})
        heard = _to_hear(run, chosen.result())
        made = looked_at.result()
        about: list[Section | None] = []
        if made is not None:
            about = [sections.failures(made, sexes), embeddings.by_source(made)]
            about.append(sections.counting(made))
    parts = [curves, heard, looked.result(), *about]
    return render(run.name, [run.fact, *problem, *unread], [part for part in parts if part])


def comparison_page(workdirs: Sequence[Path]) -> bytes:
    """Returns a page with several runs side by side; the first one's mixtures are heard.

    Raises:
      UserError: if one is no run, or damaged.
    """
    runs = open_runs(workdirs)
    parts = [
        sections.training({run.name: history.read(run.workdir) for run in runs}),
        _what_differs(runs),
    ]
    facts = [run.fact for run in runs]
    apart = [run for run in runs if run.separator.separator.slots > 1]
    facts += [f"{run.name}: {AUTOENCODER}" for run in runs if run not in apart]
    if apart:
        held_out, problem = _open(apart[0])
        facts += problem
        listed = _listed(apart[0], held_out)
        parts.append(_to_hear(apart[0], _chosen(apart, listed)))
        first = read_data(apart[0].workdir)
        facts += [
            f"{run.name} was trained on other recordings than {apart[0].name}, whose mixtures are "
            "heard here: it may have been trained on their voices."
            for run in apart[1:]
            if read_data(run.workdir)[::2] != first[::2]
        ]
    return render(" and ".join(run.name for run in runs), facts, [part for part in parts if part])


def where_slots_look(
    separator: RecordingSeparator, heard: Sequence[tuple[str, np.ndarray]]
) -> Section:
    """Returns attention or gates in mixtures at the model's rate, or that there are none."""
    looked: list[tuple[str, Looks]] = []
    for name, mixture in heard:
        panels = looks(separator, mixture)
        if panels is not None:
            looked.append((name, panels))
    name = separator.config["model"]["slot_module"]["name"]
    none = f"Slots of {name} have neither attention over a grid nor gates to look at."
    return Section(
        "Where each slot looks", [looked[0][1].meaning if looked else none], looks=looked
    )


def _open(run: Run, data: fields.Section | None = None) -> tuple[HeldOut | None, list[str]]:
    """Returns the run's held-out mixtures; or none, and why in a sentence."""
    try:
        return mixtures.open_held_out(run.separator, run.workdir, data), []
    except UserError as error:
        what = "scores of crops, embeddings and mixtures made of them are missing here"
        return None, [f"The recordings of {run.name} cannot be used, so {what} ({error})"]


def _sexes(held_out: HeldOut | None) -> tuple[Mapping[str, str], list[str]]:
    """Returns the sexes of held-out speakers, where known; or none, and why in a sentence."""
    try:
        return read_sexes(held_out.speaker_lists if held_out else {}), []
    except UserError as error:
        return {}, [f"Scores by the sexes of speakers are missing here ({error})"]


def _listed(run: Run, held_out: HeldOut | None) -> Listed:
    """Returns mixtures to hear: those of an evaluation, of the data, or what the training left."""
    listed = mixtures.evaluated(run.workdir)
    if listed is None and held_out is not None and held_out.longer is not None:
        listed = mixtures.from_data(held_out.longer, run.separator.sample_rate)
    return listed or mixtures.left(run.workdir)


def _crops(run: Run, held_out: HeldOut | None) -> Crops | None:
    """Returns what the run makes of its held-out crops, as many as the training looked at."""
    count = int(run.separator.config.get("eval", {}).get("mixtures", 0))
    return crops(run.separator, held_out.crops, count) if held_out and count else None


class Heard(NamedTuple):
    """A mixture that is on the page: its title, and what each run makes of it."""

    title: str
    whole: Whole
    names: tuple[str, ...]
    apart: list[Apart]


class Chosen(NamedTuple):
    """The mixtures that are on the page, and where they come from in a sentence."""

    origin: str
    heard: list[Heard]


def _chosen(runs: Sequence[Run], listed: Listed) -> Chosen:
    """Returns the mixtures to hear, taken apart by every run; the first one's scores rank them."""
    rate, several = runs[0].separator.sample_rate, len(runs) > 1

    def apart(run: Run, whole: Whole) -> Apart:
        return take_apart(run.name if several else "", run.separator, whole, rate)

    bar = progress(listed.wholes, desc="taking apart", unit="mixture", leave=False)
    first = [apart(runs[0], whole) for whole in bar]
    indices = range(len(first))
    titles, count = [*zip(listed.titles, indices, strict=False)], listed.scored
    if not titles:
        means = {
            i: float(np.mean(made.scores.si_snri)) for i, made in enumerate(first) if made.scores
        }
        titles = mixtures.ranked(means) or [(f"Mixture {i + 1}", i) for i in indices[:SHOWN]]
        count = len(means)
    heard = [
        Heard(
            title, listed.wholes[i], listed.names[i] if listed.names else (),
            [first[i], *(apart(run, listed.wholes[i]) for run in runs[1:])],
        )
        for title, i in titles
    ]  # fmt: skip
    return Chosen(mixtures.origin(listed.what, count, [title for title, _ in titles]), heard)


def _to_hear(run: Run, chosen: Chosen) -> Section | None:
    """Returns the mixtures to hear; ``run`` is the one whose rate they have."""
    cards: list[Card] = []
    for title, whole, names, apart in chosen.heard:
        known = names if len(names) == len(whole.sources) else ()
        heading = f"{title}: {whole.name}" if whole.name != title.lower() else title
        rate = run.separator.sample_rate
        cards.append(card(heading, [], whole.mixture, whole.sources, known, apart, rate))
    return Section("Listen", [chosen.origin], cards=cards) if cards else None


def _looked(run: Run, chosen: Chosen) -> Section | None:
    heard = [(mixture.title, mixture.whole.mixture) for mixture in chosen.heard]
    return where_slots_look(run.separator, heard) if heard else None


def _what_differs(runs: Sequence[Run]) -> Section:
    """Returns the fields of configs that are not those of the first run."""
    first = runs[0].separator.config
    rows = [
        [run.name, ", ".join(differences(first, run.separator.config)) or "nothing"]
        for run in runs[1:]
    ]
    header = ["run", f"fields that differ from {runs[0].name}"]
    return Section("What differs", tables=[Table("Configs", header, rows)])
