"""The one way in which a run imports TensorFlow."""

import importlib.util
from typing import Any

from audioslots_jax.progress import waiting


def has_tensorflow() -> bool:
    """Returns whether TensorFlow is installed; finding out does not import it."""
    return importlib.util.find_spec("tensorflow") is not None


def import_tensorflow() -> Any:
    """Returns TensorFlow, which takes 1.7 s to import and sees no GPUs: their memory is JAX's.

    Only who uses TensorFlow first can hide them: nothing that uses it may be imported before.
    """
    with waiting("loading TensorFlow"):
        import tensorflow

    tensorflow.config.set_visible_devices([], "GPU")
    return tensorflow
