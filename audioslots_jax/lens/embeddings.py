"""The parts of a page about embeddings: slots in two dimensions."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from audioslots_jax.inference.trace import Joined
from audioslots_jax.lens.held_out import Crops
from audioslots_jax.lens.images import PALETTE
from audioslots_jax.lens.page import Figure, Section
from audioslots_jax.lens.plots import cloud
from audioslots_jax.lens.sections import FEWEST

SPEAKERS = len(PALETTE) - 1  # with a colour of their own; the last colour is the others'
AXES = ("first component", "second component")


def by_source(crops: Crops) -> Section | None:
    """Returns the slots of held-out crops in two dimensions; None if they are too few."""
    chosen = crops.present
    points = crops.embeddings[chosen]
    if len(points) < FEWEST:
        return None
    flat, share = two_dimensions(points)
    text = (
        f"{len(points)} slots, each matched with a source of a held-out crop by the truth, in the "
        f"two directions in which they differ most, which hold {100 * share:.0f} % of their "
        "variance (principal components)."
    )
    names = [name for row, here in zip(crops.names, chosen, strict=False) if row
             for name, present in zip(row, here, strict=True) if present]  # fmt: skip
    if len(names) == len(points):
        colour_of, legend = _speakers(names)
        alt = f"Slots by speaker, {len(set(names))} of them"
        picture = cloud(flat, [colour_of[name] for name in names], AXES, alt)
        return Section("Slot embeddings", [text], [Figure(picture, "By speaker", legend)])
    pitches = 12 * np.log2(crops.pitches[chosen] / 440)
    known = ~np.isnan(pitches)
    if known.sum() < FEWEST:
        picture = cloud(flat, [PALETTE[0]] * len(flat), AXES, "Slots as points")
        return Section("Slot embeddings", [text], [Figure(picture, "Slots")])
    related = _explained(flat[known], pitches[known])
    alt = f"Slots by pitch; the two components explain {100 * related:.0f} % of its variance"
    picture = cloud(flat[known], pitches[known], AXES, alt, bar="semitones re 440 Hz")
    caption = (
        f"By the pitch of the true voice: a plane explains {100 * related:.0f} % of its variance"
    )
    return Section("Slot embeddings", [text], [Figure(picture, caption)])


def over_time(joined: Joined, slots: Sequence[int], names: Sequence[str]) -> Section | None:
    """Returns the embeddings of a recording's slots, chunk after chunk; None if they are few."""
    points = joined.embeddings[:, slots]
    if points.shape[0] * points.shape[1] < FEWEST:
        return None
    flat, share = two_dimensions(points.reshape(-1, points.shape[-1]))
    colours = [PALETTE[slot % len(PALETTE)] for slot in slots]
    text = (
        f"Every point is a slot in one of {len(points)} chunks, in the two directions in which "
        f"they differ most ({100 * share:.0f} % of the variance). Voices that stay apart are "
        "clouds that do; where colours mix, the order of the slots was a guess."
    )
    alt = f"{len(flat)} slots of chunks, by output"
    picture = cloud(flat, colours * len(points), AXES, alt)
    legend = [*zip(colours, names, strict=True)]
    return Section("Slot embeddings over time", [text], [Figure(picture, "By output", legend)])


def two_dimensions(
    points: Float[np.ndarray, "point dimension"],
) -> tuple[Float[np.ndarray, "point 2"], float]:
    """Returns the first two principal components, and their share of the variance.

    They are the eigenvectors of the scatter matrix. To import scikit-learn for them takes 2 of the
    20 CPU seconds of a small run's page.
    """
    centred = np.asarray(points, np.float64)
    centred = centred - centred.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    share = variances[-2:].sum() / max(variances.sum(), np.finfo(np.float64).tiny)
    return centred @ directions[:, :-3:-1], float(share)


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
