import jax
import pytest


@pytest.fixture(autouse=True)
def optax_promotes_types():
    """Adam's bias correction in optax raises a float to an integer power."""
    with jax.numpy_dtype_promotion("standard"):
        yield
