"""How loud a model hears a recording."""

import numpy as np
from jaxtyping import Float32

MOST_GAIN = 1e12  # what needs more is silence


class Gain:
    """The gain of what a model hears, so that recordings of any level are separated alike.

    It is the RMS of the mixtures that the model was trained on, divided by the level of the
    recording so far: ``sqrt(sum n p^2 / sum n p)`` over the mean squares ``p`` of all parts of
    chunks as long as a crop, of all channels, up to the end of a batch of chunks. Loud parts so
    count for more than pauses do. Zeros that end a part count for nothing, neither in its mean nor
    in its number ``n`` of samples: they fill up a recording that ends. The gain is 1 if either
    level is 0 or not known. Only masks depend on it, not the level of estimates.
    """

    def __init__(self, level: float, crop: int):
        """Starts a recording.

        Args:
          level: the RMS of the training's mixtures.
          crop: their length in samples.
        """
        self._level, self._crop, self._sums = level, crop, np.zeros(2)

    def __call__(
        self, chunks: Float32[np.ndarray, "chunk channel length"]
    ) -> Float32[np.ndarray, ""]:
        """Returns the gain of a batch of chunks, which follows those of earlier calls."""
        missing = -chunks.shape[-1] % self._crop
        parts = np.pad(chunks, ((0, 0), (0, 0), (0, missing)))
        parts = parts.reshape(*chunks.shape[:2], -1, self._crop)
        # Up to the last sample that is heard in any channel.
        heard = np.any(parts, axis=1, keepdims=True) * np.arange(1, self._crop + 1)
        count = np.maximum(heard.max(axis=-1), 1)
        powers = np.sum(np.square(parts, dtype=np.float64), axis=-1) / count
        self._sums += np.sum(count * np.square(powers)), np.sum(count * powers)
        if not self._level or not self._sums.all():
            return np.asarray(1, np.float32)
        gain = self._level / np.sqrt(self._sums[0] / self._sums[1])
        return np.asarray(min(gain, MOST_GAIN), np.float32)
