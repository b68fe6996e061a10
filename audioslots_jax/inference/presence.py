"""Which slots of a whole recording hold a source, from what the model says of its chunks."""

import numpy as np
from jaxtyping import Float

PRESENT = 0.5  # probability from which a slot counts as a source
STRETCH_SECONDS = 4.0


def stretch(hop: int, sample_rate: int) -> int:
    """Returns the number of chunks that begin within `STRETCH_SECONDS`, at least one.

    Chunks begin every ``hop`` samples, at a rate in Hz.
    """
    return max(round(STRETCH_SECONDS * sample_rate / hop), 1)


class Presences:
    """Gathers what the model says of chunks, whose slots are in one order.

    A source may be heard in a part of a recording alone, and a chunk that is taken apart wrongly
    may seem to hold one more. So what counts is the best stretch of a slot: the highest mean of its
    probabilities over neighbouring chunks, or one chunk where these are long. Chunks of silence are
    left out.
    """

    def __init__(self, slots: int, stretch: int):
        """Starts a recording, of which so many chunks are a `stretch`."""
        self._stretch = stretch
        self._energies = np.zeros(slots)
        self._best: np.ndarray | None = None
        self._latest = np.zeros((0, slots))  # chunks that the next stretches begin with

    def add(
        self,
        probabilities: Float[np.ndarray, "chunk slot channel"],
        energies: Float[np.ndarray, "chunk slot channel"],
    ) -> None:
        """Adds chunks: the probability that each slot holds a source there, and its energy.

        Channels of a chunk count by the energy of all of their slots.
        """
        self._energies += np.sum(energies, axis=(0, 2), dtype=np.float64)
        heard = np.sum(energies, axis=1, dtype=np.float64)
        weights = heard / np.maximum(heard.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        chunks = np.einsum("ksc,kc->ks", probabilities, weights)[np.any(heard, axis=1)]
        chunks = np.concatenate([self._latest, chunks])
        if len(chunks) >= self._stretch:
            stretches = np.lib.stride_tricks.sliding_window_view(chunks, self._stretch, axis=0)
            best = stretches.mean(axis=2).max(axis=0)
            self._best = best if self._best is None else np.maximum(self._best, best)
        self._latest = chunks[max(len(chunks) - self._stretch + 1, 0) :]

    @property
    def probabilities(self) -> Float[np.ndarray, " slot"]:
        """Returns each slot's probability to hold a source in its best stretch; 0 in silence.

        The stretch of a recording that is shorter is all of it.
        """
        if self._best is not None:
            return self._best
        return self._latest.sum(axis=0) / max(len(self._latest), 1)

    def chosen(self, number: int | None = None) -> list[int]:
        """Returns the slots that hold a source; or so many, the most probable, then the loudest."""
        probabilities = self.probabilities
        if number is None:
            return [int(slot) for slot in np.flatnonzero(probabilities >= PRESENT)]
        order = np.lexsort((-self._energies, -probabilities))
        return sorted(int(slot) for slot in order[:number])
