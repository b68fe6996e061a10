"""AudioSlots (Reddy et al. 2023): slot-based sound separation in JAX.

The public face, a package a line: `audio` (spectrograms, masks, scores), `models`, `matching`,
`losses`, `data` (voices, folders of speakers) and `training`.
"""

from audioslots_jax import audio, losses, matching, models
from audioslots_jax.audio import STFT, si_snr
from audioslots_jax.errors import UserError
from audioslots_jax.losses import matched_loss
from audioslots_jax.matching import assign
from audioslots_jax.models import AudioSlots

__version__ = "0.1.0"

__all__ = [
    "STFT",
    "AudioSlots",
    "UserError",
    "assign",
    "audio",
    "losses",
    "matched_loss",
    "matching",
    "models",
    "si_snr",
]
