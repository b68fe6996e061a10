"""A mixture to hear and see: its tracks, and what became of its slots over time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from audioslots_jax.inference.presence import PRESENT
from audioslots_jax.lens.apart import Apart
from audioslots_jax.lens.images import (
    DARK,
    LIGHT,
    PALETTE,
    RED,
    Picture,
    power,
    share,
    spectrogram,
    strip,
)
from audioslots_jax.lens.sounds import common_gain, compression_level, mp3
from audioslots_jax.progress import PATIENCE, progress

KEYS = 10  # of digits
COLUMNS = 2000  # of a strip
NAMED = 8  # moments that are given in words
LONG = 60.0  # seconds of a mixture that takes a while to draw


class Track(NamedTuple):
    """Something to hear: ``key`` is the digit that plays it; pictures come with captions."""

    label: str
    key: str
    audio: str
    pictures: list[tuple[str, Picture]]


class Strip(NamedTuple):
    """Colours over time: what they mean is in the legend, and what they show in the summary."""

    caption: str
    picture: Picture
    legend: list[tuple[str, str]]
    summary: str


class Card(NamedTuple):
    """A mixture: ``rows`` of tracks that belong side by side. Times are in seconds."""

    title: str
    facts: list[str]
    seconds: float
    kilohertz: float
    rows: list[list[Track]]
    strips: list[Strip]


def card(
    title: str,
    facts: Sequence[str],
    mixture: Float[np.ndarray, " sample"],
    sources: Float[np.ndarray, "source sample"],
    names: Sequence[str],
    models: Sequence[Apart],
    sample_rate: int,
) -> Card:
    """Returns the card of a mixture and what each model makes of it.

    Each true source is beside its estimates. All of a card's sounds have one gain, and all its
    spectrograms one scale. ``names`` say who the sources are, if that is known.
    """
    gain = common_gain([mixture, *sources, *(x for apart in models for x in apart.estimates)])
    whole = power(mixture, sample_rate)
    loudest = float(whole.max())
    keys = iter([*map(str, range(KEYS))])
    tracks = 1 + len(sources) + sum(len(apart.slots) for apart in models)
    seconds = len(mixture) / sample_rate
    level = compression_level(tracks * seconds)

    def track(label: str, samples: np.ndarray, *, shared: bool = False) -> Track:
        own = power(samples, sample_rate)
        pictures = [("spectrogram", spectrogram(own, loudest, f"Spectrogram of {label}"))]
        if shared:
            alt = f"Mask of {label}: its share of the mixture over time and frequency"
            pictures.append(("mask: its share of the mixture", share(own, whole, loudest, alt)))
        audio = mp3(samples, sample_rate, gain, level)
        bar.update()
        return Track(label, next(keys, ""), audio, pictures)

    # A bar that waits appears with the first track that is done after that, which may be late.
    delay = 0 if seconds > LONG else PATIENCE
    with progress(total=tracks, desc="drawing", unit="sound", leave=False, delay=delay) as bar:
        rows = [[track("mixture", mixture)]]
        most = max([len(sources), *(len(apart.slots) for apart in models)])
        for number in range(most):
            row = []
            if number < len(sources):
                who = f": speaker {names[number]}" if number < len(names) else ""
                row.append(track(f"truth {number + 1}{who}", sources[number]))
            for apart in models:
                if number < len(apart.slots):
                    label = _slot_label(apart, number)
                    row.append(track(label, apart.estimates[number], shared=True))
            rows.append(row)
    strips = [one for apart in models for one in _strips(apart, seconds)]
    known = [*facts, *(fact for apart in models for fact in _facts(apart))]
    return Card(title, known, seconds, sample_rate / 2000, rows, strips)


def _slot_label(apart: Apart, number: int) -> str:
    model = f"{apart.model}, " if apart.model else ""
    sure = ""
    if apart.probabilities is not None:
        sure = f" (holds a voice: {100 * apart.probabilities[number]:.0f} %)"
    return f"{model}slot {apart.slots[number] + 1}{sure}"


def _facts(apart: Apart) -> list[str]:
    """Returns what is known of a mixture in sentences; those that use the truth say so."""
    model, facts = f"{apart.model}: " if apart.model else "", []
    if apart.scores is not None:
        each = apart.scores.si_snri
        by_source = ", ".join(f"{value:.1f}" for value in each)
        facts.append(
            f"{model}SI-SNRi against the truth {np.mean(each):.1f} dB (by source: {by_source})"
        )
    if apart.probabilities is not None:
        used = sum(probability >= PRESENT for probability in apart.probabilities)
        slots = apart.joined.order.shape[1]
        who = apart.model or "The model"
        facts.append(f"{who} says that {used} of {slots} slots hold a voice")
    return facts


def _strips(apart: Apart, seconds: float) -> list[Strip]:
    strips = []
    model, hop = f"{apart.model}: " if apart.model else "", apart.joined.hop
    order = apart.joined.order[:, apart.slots]
    if len(order) > 1:
        moved = 1 + np.flatnonzero(np.any(order[1:] != order[:-1], axis=1))
        slots = apart.joined.order.shape[1]
        joints = f"{len(order) - 1} joints; the network's slots change places at {len(moved)}"
        summary = f"{joints} of them{_at(moved * hop)}"
        names = [f"slot {slot + 1}" for slot in apart.slots]
        legend = [(colour, f"network's slot {i + 1}") for i, colour in enumerate(_colours(slots))]
        strips.append(
            _strip(
                f"{model}joints of chunks (top), and the network's slot in {', '.join(names)}",
                (LIGHT, DARK), np.arange(len(order)) % 2, order, (hop, seconds), legend,
                summary,
            )
        )  # fmt: skip
    if apart.scores is not None:
        held, wrong = np.asarray(apart.scores.held), apart.scores.swapped
        swaps = f"{wrong.sum()} of {len(wrong)} chunks are swapped, by the truth"
        summary = swaps + _at(np.flatnonzero(wrong) * apart.score_seconds)
        sources = held.shape[1]
        names = [f"slot {slot + 1}" for slot in apart.slots[:sources]]
        legend = [(colour, f"truth {i + 1}") for i, colour in enumerate(_colours(sources))]
        strips.append(
            _strip(
                f"{model}swaps (top, red), and the true voice in {', '.join(names)}",
                (LIGHT, RED), wrong.astype(int), held, (apart.score_seconds, seconds), legend,
                summary,
            )
        )  # fmt: skip
    return strips


def _strip(
    caption: str,
    marks: tuple[str, str],
    marked: Int[np.ndarray, " chunk"],
    numbers: Int[np.ndarray, "chunk row"],
    times: tuple[float, float],
    legend: list[tuple[str, str]],
    summary: str,
) -> Strip:
    """Returns rows of colours: which of two marks a chunk has, and a number in each other row.

    ``times`` are from chunk to chunk and of the whole, in seconds; the legend has the colours.
    """
    shown = _columns(np.concatenate([marked[:, None], 2 + numbers], axis=1), *times)
    colours = (*marks, *(colour for colour, _ in legend))
    picture = strip(shown, colours, f"{caption}: {summary}")
    return Strip(caption, picture, legend, f"{summary}.")


def _colours(count: int) -> list[str]:
    return [PALETTE[number % len(PALETTE)] for number in range(count)]


def _columns(numbers: np.ndarray, step: float, seconds: float) -> np.ndarray:
    """Returns rows of columns in time, of what holds for ``step`` seconds each; the last longer."""
    moments = (np.arange(COLUMNS) + 0.5) / COLUMNS * seconds
    return numbers[np.minimum((moments / step).astype(int), len(numbers) - 1)].T


def _at(moments: np.ndarray) -> str:
    """Returns the first moments, in seconds, and how many more there are."""
    if not len(moments):
        return ""
    shown = ", ".join(f"{moment:.1f}" for moment in moments[:NAMED])
    more = f" and {len(moments) - NAMED} more" if len(moments) > NAMED else ""
    return f" (at {shown} s{more})"
