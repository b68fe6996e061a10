"""How the chunks of a recording were joined: what a page about it is drawn from."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Joined(NamedTuple):
    """Chunks of a recording that follow each other, in one order of their slots.

    Attributes:
      order: the network's slot that each of the recording's slots continues with.
      embeddings: of the recording's slots.
      hop: from the beginning of a chunk to the next one's, in seconds.
    """

    order: Int[np.ndarray, "chunk slot"]
    embeddings: Float[np.ndarray, "chunk slot embedding"]
    hop: float


class Trace:
    """Gathers the first chunks of a recording's first channel.

    It keeps no more than ``most`` of them, for a recording may go on for days, as long as a page
    about it could not show.
    """

    def __init__(self, most: int):
        """Starts a recording."""
        self._left = most
        self._orders: list[np.ndarray] = []
        self._embeddings: list[np.ndarray] = []

    def add(
        self,
        order: Int[np.ndarray, "chunk slot"],
        embeddings: Float[np.ndarray, "chunk slot embedding"],
    ) -> None:
        """Adds chunks: the order of the network's slots, and their embeddings as they came."""
        order, embeddings = order[: self._left], embeddings[: self._left]
        self._left -= len(order)
        if not len(order):
            return
        self._orders.append(order)
        self._embeddings.append(np.take_along_axis(embeddings, order[:, :, None], axis=1))

    def joined(self, chunks: int, hop: float) -> Joined:
        """Returns the first ``chunks`` chunks, ``hop`` seconds apart; zeros filled up the last."""
        orders, embeddings = map(np.concatenate, (self._orders, self._embeddings))
        return Joined(orders[:chunks], embeddings[:chunks], hop)
