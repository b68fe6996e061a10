"""The parts of a page about a run: its training, its embeddings, where it fails, what it counts."""

from collections.abc import Mapping, Sequence

import numpy as np

from audioslots_jax.inference.trace import Joined
from audioslots_jax.lens import history
from audioslots_jax.lens.held_out import Crops
from audioslots_jax.lens.history import Series
from audioslots_jax.lens.images import PALETTE
from audioslots_jax.lens.page import Figure, Section, Table
from audioslots_jax.lens.plots import Points, binned, cloud, curves, grouped

FEWEST = 4  # points of a picture
SPEAKERS = len(PALETTE) - 1  # with a colour of their own; the last colour is the others'


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


def embeddings(crops: Crops) -> Section | None:
    """Returns the slots of held-out crops in two dimensions; None if they are too few."""
    chosen = crops.present
    points = crops.embeddings[chosen]
    if len(points) < FEWEST:
        return None
    flat, share = _two_dimensions(points)
    text = (
        f"{len(points)} slots, each matched with a source of a held-out crop by the truth, in the "
        f"two directions in which they differ most, which hold {100 * share:.0f} % of their "
        "variance (principal components)."
    )
    names = [name for row, here in zip(crops.names, chosen, strict=False) if row
             for name, present in zip(row, here, strict=True) if present]  # fmt: skip
    axes = ("first component", "second component")
    if len(names) == len(points):
        colour_of, legend = _speakers(names)
        alt = f"Slots by speaker, {len(set(names))} of them"
        picture = cloud(flat, [colour_of[name] for name in names], axes, alt)
        return Section("Slot embeddings", [text], [Figure(picture, "By speaker", legend)])
    pitches = 12 * np.log2(crops.pitches[chosen] / 440)
    known = ~np.isnan(pitches)
    if known.sum() < FEWEST:
        picture = cloud(flat, [PALETTE[0]] * len(flat), axes, "Slots as points")
        return Section("Slot embeddings", [text], [Figure(picture, "Slots")])
    related = _explained(flat[known], pitches[known])
    alt = f"Slots by pitch; the two components explain {100 * related:.0f} % of its variance"
    picture = cloud(flat[known], pitches[known], axes, alt, bar="semitones re 440 Hz")
    caption = (
        f"By the pitch of the true voice: a plane explains {100 * related:.0f} % of its variance"
    )
    return Section("Slot embeddings", [text], [Figure(picture, caption)])


def drift(joined: Joined, slots: Sequence[int], names: Sequence[str]) -> Section | None:
    """Returns the embeddings of a recording's slots, chunk after chunk; None if they are few."""
    points = joined.embeddings[:, slots]
    if points.shape[0] * points.shape[1] < FEWEST:
        return None
    flat, share = _two_dimensions(points.reshape(-1, points.shape[-1]))
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(slots))]
    text = (
        f"Every point is a slot in one of {len(points)} chunks, in the two directions in which "
        f"they differ most ({100 * share:.0f} % of the variance). Voices that stay apart are clouds "
        "that do; where colours mix, the order of the slots was a guess."
    )
    alt = f"{len(flat)} slots of chunks, by output"
    picture = cloud(flat, colours * len(points), ("first component", "second component"), alt)
    legend = [*zip(colours, names, strict=True)]
    return Section("Slot embeddings over time", [text], [Figure(picture, "By output", legend)])


def failures(crops: Crops) -> Section | None:
    """Returns scores by level difference and by distance of pitches; None if they are few."""
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
    text = (
        "Of the held-out crops. Pitches are medians, measured in the true sources; mixtures in "
        "which one cannot be told are left out."
    )
    return Section("Where it fails", [text], figures, tables)


def counting(crops: Crops) -> Section | None:
    """Returns how many voices are found in held-out crops; None if the model does not count."""
    if crops.counted is None:
        return None
    true = crops.present.sum(axis=1)
    most = max(int(true.max()), *crops.counted)
    table = np.zeros((most + 1, most + 1), int)
    np.add.at(table, (true, np.array(crops.counted)), 1)
    right = np.trace(table) / len(true)
    rows = [[f"{number} voices", *map(str, row)] for number, row in enumerate(table)]
    header = ["truth", *(f"{number} found" for number in range(most + 1))]
    text = f"In {100 * right:.0f} % of {len(true)} held-out crops the number of voices is right."
    return Section("How many voices", [text], tables=[Table("Held-out crops", header, rows)])


def _two_dimensions(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the first two principal components, and their share of the variance."""
    from sklearn.decomposition import PCA  # a second, which others are spared

    pca = PCA(2, svd_solver="full").fit(np.asarray(points, np.float64))
    flat = pca.transform(np.asarray(points, np.float64))
    return flat, float(np.nan_to_num(pca.explained_variance_ratio_).sum())


def _explained(points: np.ndarray, values: np.ndarray) -> float:
    """Returns the share of the values' variance that a linear function of the points explains."""
    inputs = np.column_stack([points, np.ones(len(points))])
    rest = values - inputs @ np.linalg.lstsq(inputs, values, rcond=None)[0]
    return float(max(1 - np.var(rest) / max(np.var(values), 1e-12), 0))


def _speakers(names: Sequence[str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Returns a colour for each speaker, and the legend; those heard most have their own."""
    often = sorted(set(names), key=lambda name: (-names.count(name), name))
    colour_of = {name: PALETTE[min(i, SPEAKERS)] for i, name in enumerate(often)}
    legend = [(colour_of[name], name) for name in often[:SPEAKERS]]
    if len(often) > SPEAKERS:
        legend.append((PALETTE[SPEAKERS], f"{len(often) - SPEAKERS} others"))
    return colour_of, legend
