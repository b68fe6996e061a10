"""What a recording has above a model's band, divided among the slots.

A model of 8 kHz hears nothing above 4 kHz, where much of what tells consonants apart lies. A rule
gives it back: each slot gets of it, from moment to moment, in proportion to its amplitude in the
uppermost quarter of the model's band. What is divided is all that the estimates lack of the
recording, so that they add up to it. Where a model leaves something to nobody, such as noise, that
has its share like a slot.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.signal
from jaxtyping import Float, Float32

SEGMENT = 0.016  # s; shares change linearly from the beginning of each segment to its end
UPPER = 0.75  # where the uppermost quarter of the band begins
ORDER = 6  # of the filter that keeps it
SILENCE = 1e-6  # of the recording's mean square around it; below it slots share alike
TINY = 1e-30

Recording = Float32[np.ndarray, "channel sample"]
Separated = Float32[np.ndarray, "slot channel sample"]


def share_rest(
    pairs: Iterable[tuple[Recording, Separated]], sample_rate: int, band: float
) -> Iterator[Float32[np.ndarray, "slot channel shared"]]:
    """Yields the estimates with their shares of what all of them together lack of the recording.

    Args:
      pairs: blocks of the recording, and the estimates of the same samples.
      sample_rate: of both, in Hz.
      band: what the model hears ends here, in Hz; below half the sampling rate.

    Yields:
      Blocks of other lengths, as long as the recording together.
    """
    segment = round(SEGMENT * sample_rate)
    upper = scipy.signal.butter(ORDER, UPPER * band, "highpass", fs=sample_rate, output="sos")
    held: _Held | None = None
    for recording, estimates in pairs:
        if held is None:
            held = _Held.nothing(len(estimates), len(recording))
            state = np.zeros((len(upper), *estimates.shape[:2], 2))
        heard, state = scipy.signal.sosfilt(upper, estimates, zi=state)
        squares = np.concatenate([np.square(heard), np.square(recording, dtype=np.float64)[None]])
        held = held.joined(recording, estimates, squares)
        # The share at a segment's end needs the next one's power.
        count = held.recording.shape[1] // segment - 1
        if count > 0:
            yield _shared(held, segment, count)
            held = held.later(segment, count)
    if held is not None and held.recording.size:
        yield _shared(held, segment, -(-held.recording.shape[1] // segment))


class _Held(NamedTuple):
    """What waits for its shares, and the power of the segment before it.

    Squares are of what slots have in the upper quarter, and last of the whole recording.
    """

    recording: Recording
    estimates: Separated
    squares: Float[np.ndarray, "part channel sample"]
    before: Float[np.ndarray, "part channel"]

    @classmethod
    def nothing(cls, slots: int, channels: int) -> "_Held":
        empty = np.zeros((slots, channels, 0), np.float32)
        squares = np.zeros((slots + 1, channels, 0))
        return cls(empty[0], empty, squares, np.zeros((slots + 1, channels)))

    def joined(self, *blocks: np.ndarray) -> "_Held":
        pairs = zip(self[:3], blocks, strict=True)
        recording, estimates, squares = (np.concatenate(pair, axis=-1) for pair in pairs)
        return _Held(recording, estimates, squares, self.before)

    def later(self, segment: int, count: int) -> "_Held":
        """Returns what is left without the first ``count`` segments."""
        done = count * segment
        last = self.squares[..., done - segment : done].mean(axis=-1)
        recording, estimates, squares = (part[..., done:] for part in self[:3])
        return _Held(recording, estimates, squares, last)


def _shared(held: _Held, segment: int, count: int) -> Float32[np.ndarray, "slot channel shared"]:
    """Returns the first ``count`` segments of the estimates with their shares."""
    recording, estimates, squares, before = held
    length = min(count * segment, recording.shape[-1])
    powers = _powers(squares, segment)[..., : count + 1]
    after = np.zeros((*powers.shape[:2], count + 1 - powers.shape[2]))
    powers = np.concatenate([before[..., None], powers, after], axis=-1)
    around = powers[..., :-1] + powers[..., 1:]
    amplitudes = np.sqrt(around[:-1] + SILENCE * around[-1:] + TINY)
    shares = (amplitudes / amplitudes.sum(axis=0))[..., None]
    later = (np.arange(segment) + 0.5) / segment
    shares = shares[..., :-1, :] * (1 - later) + shares[..., 1:, :] * later
    shares = shares.reshape(*shares.shape[:2], -1)[..., :length]
    rest = recording[:, :length] - estimates[..., :length].sum(axis=0)
    return (estimates[..., :length] + shares * rest).astype(np.float32)


def _powers(
    squares: Float[np.ndarray, "part channel sample"], segment: int
) -> Float[np.ndarray, "part channel segment"]:
    """Returns the mean square of every segment; the last is filled up with zeros."""
    filled = np.pad(squares, ((0, 0), (0, 0), (0, -squares.shape[-1] % segment)))
    return filled.reshape(*squares.shape[:2], -1, segment).mean(axis=-1)
