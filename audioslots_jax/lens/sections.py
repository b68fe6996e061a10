"""The parts of a page about a run: its training, where it fails, what it counts."""

from collections.abc import Mapping

import numpy as np

from audioslots_jax.lens import history
from audioslots_jax.lens.held_out import Crops
from audioslots_jax.lens.history import Series
from audioslots_jax.lens.images import PALETTE
from audioslots_jax.lens.page import Figure, Section, Table
from audioslots_jax.lens.plots import Points, binned, classes, cloud, curves, grouped

FEWEST = 4  # points of a picture


def training(runs: Mapping[str, Series]) -> Section | None:
    """Returns the learning curves of runs by name; None if they left none."""
    runs = {name: series for name, series in runs.items() if series}
    if not runs:
        return None
    several = len(runs) > 1
    legend = [(PALETTE[i % len(PALETTE)], name) for i, name in enumerate(runs)] if several else []
    names = {"train/loss": "loss in training"}
    names |= {
        name: f"SI-SNRi of held-out crops ({name})" for name in history.scores([*runs.values()])
    }
    names |= {"eval/count_accuracy": "share of held-out crops whose number of voices is right"}
    figures = []
    for name, title in names.items():
        lines: list[Points] = [series.get(name, ([], [])) for series in runs.values()]
        if not any(steps for steps, _ in lines):
            continue
        ceilings: list[Points] = []
        if name.endswith("si_snri"):
            ceilings = [series.get("eval/oracle_si_snri", ([], [])) for series in runs.values()]
        ends = "; ".join(
            f"{run} from {values[0]:.3g} to {values[-1]:.3g} at step {steps[-1]:g}"
            for run, (steps, values) in zip(runs, lines, strict=True)
            if steps
        )
        unit = "dB" if name.endswith("si_snri") else ""
        dashed = "; dashed: masks made from the truth" if any(x for x, _ in ceilings) else ""
        picture = curves(lines, ("step", unit), f"{title}: {ends}", ceilings)
        figures.append(Figure(picture, title + dashed, legend))
    last = {
        run: {name: values[-1] for name, (_, values) in series.items() if name.startswith("eval/")}
        for run, series in runs.items()
    }
    columns = list(dict.fromkeys(name for values in last.values() for name in values))
    rows = [
        [run, *(f"{values[name]:.3f}" if name in values else "" for name in columns)]
        for run, values in last.items()
    ]
    header = ["run", *(name.removeprefix("eval/") for name in columns)]
    tables = [Table("Last scores of held-out crops, against the truth", header, rows)]
    return Section("Learning curves", figures=figures, tables=tables if columns else ())


def failures(crops: Crops, sexes: Mapping[str, str]) -> Section | None:
    """Returns scores by level difference, distance of pitches and sexes; None if they are few.

    Args:
      crops: whose scores they are.
      sexes: of speakers by name, where known.
    """
    figures, tables = [], []
    for title, unit, values in (
        ("difference of levels", "dB", crops.levels),
        ("distance of the nearest pitches", "semitones", crops.distances),
    ):
        known = np.isfinite(values) & np.isfinite(crops.si_snri)
        if known.sum() < FEWEST:
            continue
        x, y = values[known], crops.si_snri[known]
        bins = binned(x, y)
        line = ([(low + high) / 2 for low, high, *_ in bins], [mean for _, _, mean, *_ in bins])
        caption = f"SI-SNRi against the truth by {title}, and means of fifths"
        alt = f"{caption}: {', '.join(f'{mean:.1f}' for mean in line[1])} dB"
        axis = f"{title} ({unit})"
        points = np.stack([x, y], axis=1)
        picture = cloud(points, [PALETTE[0]] * len(x), (axis, "SI-SNRi (dB)"), alt, means=line)
        figures.append(Figure(picture, caption))
        rows = [[f"{low:.1f} to {high:.1f}", f"{mean:.2f}", f"{error:.2f}", str(count)]
                for low, high, mean, error, count in bins]  # fmt: skip
        header = [axis, "SI-SNRi (dB)", "standard error", "mixtures"]
        tables.append(
            Table(f"Scores of held-out crops by {title}, against the truth", header, rows)
        )
    text = (
        "Of the held-out crops. Pitches are medians, measured in the true sources; mixtures in "
        "which one cannot be told are left out."
    )
    if by_sexes := _by_sexes(crops, sexes):
        figures.append(by_sexes[0])
        tables.append(by_sexes[1])
        text += " Sexes are those of SPEAKERS.TXT."
    pairs = [(name, float(score)) for names, score, here in
             zip(crops.names, crops.si_snri, crops.present, strict=False)
             for name, present in zip(names, here, strict=False)
             if present and np.isfinite(score)]  # fmt: skip
    if pairs:
        rows = [[name, f"{mean:.2f}", f"{error:.2f}", str(number)]
                for name, (mean, error, number) in grouped(pairs).items()]  # fmt: skip
        header = ["speaker", "SI-SNRi (dB)", "standard error", "mixtures"]
        tables.append(Table("Scores of the crops in which a speaker is heard", header, rows))
    if not figures:
        return None
    return Section("Where it fails", [text], figures, tables)


def _by_sexes(crops: Crops, sexes: Mapping[str, str]) -> tuple[Figure, Table] | None:
    """Returns scores by the sexes of who is heard; None if those of few mixtures are known."""
    known: list[tuple[str, float]] = []
    unknown = 0
    for names, here, score in zip(crops.names, crops.present, crops.si_snri, strict=False):
        heard = [name for name, present in zip(names, here, strict=False) if present]
        if len(heard) < 2 or not np.isfinite(score):
            continue
        if all(name in sexes for name in heard):
            known.append(("+".join(sorted(sexes[name] for name in heard)), float(score)))
        else:
            unknown += 1
    if len(known) < FEWEST:
        return None
    groups = grouped(known)
    caption = "SI-SNRi against the truth by sexes of the speakers, and means with standard errors"
    alt = f"{caption}: {', '.join(f'{pair} {mean:.1f}' for pair, (mean, *_) in groups.items())} dB"
    figure = Figure(classes(known, ("sexes", "SI-SNRi (dB)"), alt), caption)
    rows = [[pair, f"{mean:.2f}", f"{error:.2f}", str(count)]
            for pair, (mean, error, count) in groups.items()]  # fmt: skip
    title = "Scores of held-out crops by sexes of the speakers, against the truth"
    if unknown:
        title += f"; left out: {unknown} of {unknown + len(known)}, where a sex is not known"
    return figure, Table(title, ["sexes", "SI-SNRi (dB)", "standard error", "mixtures"], rows)


def counting(crops: Crops) -> Section | None:
    """Returns how many voices are found in held-out crops; None if the model does not count."""
    if crops.counted is None:
        return None
    true = crops.present.sum(axis=1)
    most = max(int(true.max()), *crops.counted)
    table = np.zeros((most + 1, most + 1), int)
    np.add.at(table, (true, np.array(crops.counted)), 1)
    right = np.trace(table) / len(true)
    rows = [
        [f"{number} voices", *map(str, row), _where_right(crops, number)]
        for number, row in enumerate(table)
    ]
    header = ["truth", *(f"{number} found" for number in range(most + 1)), "SI-SNRi where right"]
    text = f"In {100 * right:.0f} % of {len(true)} held-out crops the number of voices is right."
    return Section("How many voices", [text], tables=[Table("Held-out crops", header, rows)])


def _where_right(crops: Crops, number: int) -> str:
    """Returns the mean SI-SNRi of crops of so many voices whose number was found, if they have one.

    One voice alone has nothing to be improved.
    """
    right = (crops.present.sum(axis=1) == number) & (np.array(crops.counted) == number)
    scores = crops.si_snri[right & np.isfinite(crops.si_snri)] if number > 1 else np.array([])
    return f"{scores.mean():.2f} dB" if len(scores) else ""
