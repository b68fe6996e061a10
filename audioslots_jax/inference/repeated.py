"""Short recordings, as long as what a model was trained on."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float32


def repeated(
    blocks: Iterable[Float32[np.ndarray, "channel sample"]], fewest: int
) -> Iterator[Float32[np.ndarray, "channel sample"]]:
    """Yields a recording, and again from its beginning until there are ``fewest`` samples.

    Followed by silence instead, noise is taken for more people (experiments/counting). A recording
    that is long enough stays as it is.
    """
    heard: list[np.ndarray] = []
    count = 0
    for block in blocks:
        if count < fewest:
            heard.append(block)
            count += block.shape[1]
        yield block
    if 0 < count < fewest:
        recording = np.concatenate(heard, axis=1)
        yield np.take(recording, np.arange(count, fewest), axis=1, mode="wrap")
