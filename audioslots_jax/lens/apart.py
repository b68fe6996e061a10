"""Mixtures and recordings taken apart by a model, with what is known of how."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from audioslots_jax.audio import order_like, split
from audioslots_jax.audio.chunks import count
from audioslots_jax.data.batch import Whole
from audioslots_jax.evaluation.scores import Scores, score, swapped
from audioslots_jax.evaluation.whole import FEWEST
from audioslots_jax.inference.presence import Presences
from audioslots_jax.inference.recordings import RecordingSeparator
from audioslots_jax.inference.trace import Joined, Trace


class Truth(NamedTuple):
    """How estimates compare with the true sources.

    Attributes:
      scores: of the whole mixture.
      held: the source that the estimate of each source holds in each chunk.
      swapped: the chunks in which that is another one.
      seconds: length of these chunks.
    """

    scores: Scores
    held: Int[np.ndarray, "chunk source"]
    swapped: Bool[np.ndarray, " chunk"]
    seconds: float


class Apart(NamedTuple):
    """What a model makes of a mixture.

    Attributes:
      model: its name, where there are several.
      slots: number of each estimate among the model's slots, from 0.
      estimates: at the mixture's rate; those of the sources first, in their order, if these are
        known.
      probabilities: of the slots to hold a source, where the model says it.
      joined: the chunks, with all the model's slots.
      truth: if it is known.
    """

    model: str
    slots: list[int]
    estimates: Float[np.ndarray, "slot sample"]
    probabilities: list[float] | None
    joined: Joined
    truth: Truth | None = None


def take_apart(model: str, separator: RecordingSeparator, whole: Whole, sample_rate: int) -> Apart:
    """Returns a mixture taken apart by a model, and scored if it has enough sources.

    Raises:
      UserError: if the model cannot separate.
    """
    presences, trace = Presences(separator.separator.slots), Trace()
    blocks = separator.stream([whole.mixture[None]], sample_rate, whole.name, presences, trace)
    estimates = np.concatenate(list(blocks), axis=-1)[:, 0]
    slots = list(range(len(estimates)))
    truth = None
    heard = len(whole.sources) and np.all(np.any(whole.sources, axis=1))
    if heard and FEWEST <= len(whole.sources) <= len(estimates):
        chunk = round(separator.crop * sample_rate / separator.sample_rate)
        scores = score(whole, estimates, chunk)
        matched = [int(slot) for slot in scores.permutation]
        held, wrong = voices(whole.sources, estimates[matched], chunk)
        truth = Truth(scores, held, wrong, chunk / sample_rate)
        slots = matched + [slot for slot in slots if slot not in matched]
    probabilities = [float(presences.probabilities[slot]) for slot in slots]
    return Apart(
        model, slots, estimates[slots], probabilities if separator.counts else None,
        joined(separator, trace, len(whole.mixture) / sample_rate), truth,
    )  # fmt: skip


def joined(separator: RecordingSeparator, trace: Trace, seconds: float) -> Joined:
    """Returns the chunks of a recording of so many ``seconds``."""
    samples = round(seconds * separator.sample_rate)
    chunks = count(samples, separator.chunk, separator.hop)
    return trace.joined(chunks, separator.hop / separator.sample_rate)


def voices(
    sources: Float32[np.ndarray, "source sample"],
    estimates: Float32[np.ndarray, "source sample"],
    chunk: int,
) -> tuple[Int[np.ndarray, "chunk source"], Bool[np.ndarray, " chunk"]]:
    """Returns the source that each estimate holds in chunks of so many samples, and swaps.

    As swaps are counted in scores, it is another source than the estimate's own only where all
    estimates would fit better in another order.
    """
    targets, chunks = (
        np.swapaxes(np.asarray(split(jnp.asarray(x), chunk, chunk)), 0, 1)
        for x in (sources, estimates)
    )
    wrong = np.asarray(jax.jit(swapped)(chunks, targets))
    order = np.asarray(jax.jit(order_like)(chunks, targets))  # of estimates, by source
    own = np.arange(len(sources))
    return np.where(wrong[:, None], np.argsort(order, axis=1), own), wrong
