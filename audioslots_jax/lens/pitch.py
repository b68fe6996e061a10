"""The pitch of a voice that is heard alone."""

import numpy as np
from jaxtyping import Float

LOWEST_HZ, HIGHEST_HZ = 70.0, 1200.0
FRAME_SECONDS = 0.05
SOFTEST_DB = -20.0  # of a frame that counts, re the loudest
VOICED = 0.6  # correlation with what it was one period before
NEARLY = 0.9  # of the highest peak: an earlier one that is as high is no multiple of the period


def pitch(samples: Float[np.ndarray, " sample"], sample_rate: int) -> float:
    """Returns the median pitch in Hz of the voiced parts; NaN if there are none.

    It is where each frame resembles itself most, by its autocorrelation.
    """
    length = round(FRAME_SECONDS * sample_rate)
    if len(samples) < length or not samples.any():
        return float("nan")
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[:: length // 2]
    energy = np.mean(np.square(frames, dtype=np.float64), axis=1)
    frames = frames[energy > 10 ** (SOFTEST_DB / 10) * energy.max()]
    window = np.hanning(length)
    alike = _autocorrelation(frames * window) / _autocorrelation(window[None])
    low, high = int(sample_rate / HIGHEST_HZ), min(round(sample_rate / LOWEST_HZ), length // 2)
    lags = np.arange(low, high)
    before, here, after = (alike[:, lags + shift] for shift in (-1, 0, 1))
    peaks = np.where((here >= before) & (here >= after), here, 0.0)
    highest = peaks.max(axis=1)
    first = np.argmax(peaks >= NEARLY * highest[:, None], axis=1)
    rows = np.arange(len(frames))
    # The vertex of the parabola through a peak and its neighbours lies between samples.
    left, middle, right = (x[rows, first] for x in (before, here, after))
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / np.where(bend == 0, -1.0, bend)
    hertz = sample_rate / (lags[first] + np.clip(shift, -0.5, 0.5))
    voiced = hertz[highest > VOICED]
    return float(np.median(voiced)) if len(voiced) else float("nan")


def _autocorrelation(
    frames: Float[np.ndarray, "frame sample"],
) -> Float[np.ndarray, "frame lag"]:
    """Returns each frame's autocorrelation, 1 at lag 0."""
    length = frames.shape[1]
    spectrum = np.square(np.abs(np.fft.rfft(frames, 2 * length)))
    alike = np.fft.irfft(spectrum)[:, :length]
    normed: np.ndarray = alike / np.maximum(alike[:, :1], 1e-12)
    return normed
