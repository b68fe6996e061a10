"""AudioSlots (Reddy et al. 2023): slot-based sound separation in JAX.

`audio` has spectrograms, masks and scores; `models`, `separator`, `matching` and `objectives` what
is trained. Import `audioslots_jax.data` for voices, speakers and Libri2Mix. `load` makes a trained
run ready to separate recordings.
"""

from typing import TYPE_CHECKING, Any

from audioslots_jax import audio, matching, models, objectives
from audioslots_jax.audio import STFT, si_snr
from audioslots_jax.data.batch import Batch
from audioslots_jax.errors import UserError
from audioslots_jax.matching import assign
from audioslots_jax.models import AudioSlots
from audioslots_jax.separator import Estimates, FrontEnd, Separator

if TYPE_CHECKING:
    from audioslots_jax.inference import load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # It needs libraries that read and resample audio, which models do without.
    if name == "load":
        from audioslots_jax.inference import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "STFT",
    "AudioSlots",
    "Batch",
    "Estimates",
    "FrontEnd",
    "Separator",
    "UserError",
    "assign",
    "audio",
    "load",
    "matching",
    "models",
    "objectives",
    "si_snr",
]
