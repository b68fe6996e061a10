"""Which slots of a whole recording hold a source, from what the model says of its chunks."""

import numpy as np
from jaxtyping import Float

PRESENT = 0.5  # probability from which a slot counts as a source


class Presences:
    """Gathers what the model says of chunks, whose slots are in one order."""

    def __init__(self, slots: int):
        """Starts a recording."""
        self._weighted, self._energies = np.zeros((2, slots))

    def add(
        self,
        probabilities: Float[np.ndarray, "chunk slot"],
        energies: Float[np.ndarray, "chunk slot"],
    ) -> None:
        """Adds chunks: the probability that each slot holds a source there, and its energy."""
        self._weighted += np.sum(probabilities * energies, axis=0, dtype=np.float64)
        self._energies += np.sum(energies, axis=0, dtype=np.float64)

    @property
    def probabilities(self) -> Float[np.ndarray, " slot"]:
        """Returns the mean of each slot's probabilities, weighted by its energy; 0 in silence.

        So what is said of a chunk counts the more the more of the slot is in there.
        """
        return self._weighted / np.maximum(self._energies, np.finfo(np.float64).tiny)

    def chosen(self, number: int | None = None) -> list[int]:
        """Returns the slots that hold a source; or so many, the most probable, then the loudest."""
        probabilities = self.probabilities
        if number is None:
            return [int(slot) for slot in np.flatnonzero(probabilities >= PRESENT)]
        order = np.lexsort((-self._energies, -probabilities))
        return sorted(int(slot) for slot in order[:number])
