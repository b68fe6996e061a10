"""What XLA compiles, kept for the next process."""

import os
from pathlib import Path

import jax

CACHE = Path.home() / ".cache" / "audioslots_jax" / "xla"


def keep_compiled() -> None:
    """Keeps compiled programs in `CACHE`, unless ``JAX_COMPILATION_CACHE_DIR`` names a folder."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(CACHE))
