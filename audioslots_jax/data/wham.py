"""The noise of noisy LibriMix: recordings of WHAM (Wichern et al. 2019), as LibriMix takes them."""

from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from audioslots_jax.data.librispeech import SAMPLE_RATE
from audioslots_jax.errors import UserError

# Where a noise that is too short meets its own beginning, both are faded over half a second.
FADE = SAMPLE_RATE // 2 + 1


def read_noise(path: Path, samples: int) -> Float32[np.ndarray, " sample"]:
    """Returns the first channel of a recording, from its beginning; repeated if it is too short.

    Raises:
      UserError: if it cannot be read, has another rate than 16 kHz, or is shorter than a fade.
    """
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            noise = file.read(samples, "float32", always_2d=True)[:, 0]
    except (soundfile.SoundFileError, OSError, RuntimeError):
        raise UserError(
            f"{path} cannot be read; put the noise of WHAM (wham_noise) into that folder."
        ) from None
    if rate != SAMPLE_RATE or not len(noise) >= min(2 * FADE, samples):
        raise UserError(f"{path}: noise of LibriMix has {SAMPLE_RATE} Hz, and lasts a second.")
    rising = np.hanning(SAMPLE_RATE + 1)[:FADE]
    longer = noise
    while len(longer) < samples:
        joint = longer[-FADE:] * rising[::-1] + noise[:FADE] * rising
        longer = np.concatenate([longer[:-FADE], joint, noise[FADE:]])
    return longer[:samples].astype(np.float32)
