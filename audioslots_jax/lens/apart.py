"""Mixtures and recordings taken apart by a model, with what is known of how."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from audioslots_jax.audio.chunks import count
from audioslots_jax.data.batch import Whole
from audioslots_jax.evaluation.scores import Scores, score
from audioslots_jax.evaluation.whole import FEWEST
from audioslots_jax.inference.recordings import RecordingSeparator
from audioslots_jax.inference.trace import Joined, Trace


class Apart(NamedTuple):
    """What a model makes of a mixture.

    Attributes:
      model: its name, where there are several.
      slots: number of each estimate among the model's slots, from 0.
      estimates: at the mixture's rate; those of the sources first, in their order, if these are
        known.
      probabilities: of the slots to hold a source, where the model says it.
      joined: the chunks, with all the model's slots.
      scores: if the truth is known.
      score_seconds: length of the chunks in which scores look for swaps.
    """

    model: str
    slots: list[int]
    estimates: Float[np.ndarray, "slot sample"]
    probabilities: list[float] | None
    joined: Joined
    scores: Scores | None = None
    score_seconds: float = 0.0


def take_apart(model: str, separator: RecordingSeparator, whole: Whole, sample_rate: int) -> Apart:
    """Returns a mixture taken apart by a model, and scored if it has enough sources.

    Raises:
      UserError: if the model cannot separate.
    """
    seconds = len(whole.mixture) / sample_rate
    presences, trace = separator.presences(), Trace(chunks(separator, seconds))
    blocks = separator.stream([whole.mixture[None]], sample_rate, whole.name, presences, trace)
    estimates = np.concatenate(list(blocks), axis=-1)[:, 0]
    slots = list(range(len(estimates)))
    scores, chunk = None, round(separator.crop * sample_rate / separator.sample_rate)
    heard = len(whole.sources) and np.all(np.any(whole.sources, axis=1))
    if heard and FEWEST <= len(whole.sources) <= len(estimates):
        scores = score(whole, estimates, chunk)
        scores = scores._replace(held=scores.held[: -(-len(whole.mixture) // chunk)])
        matched = [int(slot) for slot in scores.permutation]
        slots = matched + [slot for slot in slots if slot not in matched]
    probabilities = [float(presences.probabilities[slot]) for slot in slots]
    return Apart(
        model, slots, estimates[slots], probabilities if separator.counts else None,
        joined(separator, trace, seconds), scores, chunk / sample_rate,
    )  # fmt: skip


def joined(separator: RecordingSeparator, trace: Trace, seconds: float) -> Joined:
    """Returns the chunks of a recording of so many ``seconds``."""
    return trace.joined(chunks(separator, seconds), separator.hop / separator.sample_rate)


def chunks(separator: RecordingSeparator, seconds: float) -> int:
    """Returns the number of chunks of a recording of so many ``seconds``."""
    return count(round(seconds * separator.sample_rate), separator.chunk, separator.hop)
