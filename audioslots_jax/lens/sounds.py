"""Sounds that a browser plays, as text within a page."""

import base64
import io

import numpy as np
import soundfile
import soxr
from jaxtyping import Float

MOST_RATE = 16000  # Hz; what lies above half of it is not worth its size on a page
RATES = (8000, 11025, 12000, 16000)  # that MP3 knows, up to there
LOUDEST = 0.95  # of full scale
# Of the encoder's compression, from 0 (largest) to 1: 49 and 33 kbit/s of speech at 16 kHz.
LEVEL, STRONGER = 0.3, 0.7
MOST_SECONDS = 2400.0  # of sound that need no stronger one, such as ten minutes of four tracks


def page_rate(sample_rate: int) -> int:
    """Returns the rate in Hz that sounds of a ``sample_rate`` have on a page."""
    return sample_rate if sample_rate in RATES else MOST_RATE


def resample(
    samples: Float[np.ndarray, " sample"], before: int, after: int
) -> Float[np.ndarray, " resampled"]:
    """Returns samples at another rate; both in Hz."""
    return samples if before == after else soxr.resample(samples, before, after)


def compression_level(seconds: float) -> float:
    """Returns the level for all sounds of a mixture, of so many seconds together."""
    return LEVEL if seconds <= MOST_SECONDS else STRONGER


def mp3(
    samples: Float[np.ndarray, " sample"], sample_rate: int, gain: float, level: float = LEVEL
) -> str:
    """Returns an MP3 file as a data URI; samples times ``gain`` end at full scale."""
    rate = page_rate(sample_rate)
    heard = np.clip(gain * resample(samples, sample_rate, rate), -1, 1)
    file = io.BytesIO()
    form = {"format": "MP3", "compression_level": level, "bitrate_mode": "VARIABLE"}
    soundfile.write(file, heard, rate, **form)
    return data_uri("audio/mpeg", file.getvalue())


def common_gain(sounds: list[Float[np.ndarray, " sample"]]) -> float:
    """Returns the gain that brings the loudest of them to `LOUDEST`, so that all stay alike."""
    peak = max((float(np.abs(sound).max(initial=0.0)) for sound in sounds), default=0.0)
    return LOUDEST / peak if peak > 0 else 1.0


def data_uri(media: str, content: bytes) -> str:
    """Returns a file of a media type as text that a page holds in place of an address."""
    return f"data:{media};base64,{base64.b64encode(content).decode()}"
