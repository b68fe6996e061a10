"""AudioSlots (Reddy et al. 2023): slot-based sound separation in JAX.

`audio` has spectrograms, masks and scores; `models`, `matching` and `losses` what is trained.
Import `audioslots_jax.data` for voices, speakers and Libri2Mix, and `audioslots_jax.training` for a
run. `load` makes a trained one ready to separate recordings.
"""

from typing import TYPE_CHECKING, Any

from audioslots_jax import audio, losses, matching, models
from audioslots_jax.audio import STFT, si_snr
from audioslots_jax.errors import UserError
from audioslots_jax.losses import matched_loss
from audioslots_jax.matching import assign
from audioslots_jax.models import AudioSlots

if TYPE_CHECKING:
    from audioslots_jax.separation import load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # What loads a run needs Orbax, which takes a second to import.
    if name == "load":
        from audioslots_jax.separation import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "STFT",
    "AudioSlots",
    "UserError",
    "assign",
    "audio",
    "load",
    "losses",
    "matched_loss",
    "matching",
    "models",
    "si_snr",
]
