"""AudioSlots (Reddy et al. 2023): slot-based sound separation in JAX.

`audio` has spectrograms, masks and scores; `models`, `matching` and `losses` what is trained.
Import `audioslots_jax.data` for voices, speakers and Libri2Mix, and `audioslots_jax.training` for a
run.
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
