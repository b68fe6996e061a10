"""Streams batches through tf.data, so that they are ready before the device asks for them."""

from collections.abc import Generator

import numpy as np
from jaxtyping import Float32

from audioslots_jax.data.mixtures import Mixtures, batch


def stream(
    mixtures: Mixtures,
    *,
    seed: int,
    batch_size: int,
    start: int,
    stop: int,
    rows: range | None = None,
    workers: int = 2,
) -> Generator[Float32[np.ndarray, "row source sample"], None, None]:
    """Batches of the steps ``start`` to ``stop - 1``, in order.

    The order and contents do not depend on ``workers``, and starting at any step costs nothing:
    a step's batch is computed from its number.

    Args:
      mixtures: the data set.
      seed: of the training's random choices.
      batch_size: rows of the global batch.
      start: first step.
      stop: the step after the last.
      rows: the rows of the global batch this host needs; all by default.
      workers: batches computed at the same time.

    Raises:
      Whatever `mixtures` raises, at the step that needs the batch.
    """
    import tensorflow as tf  # 1.7 s, and of no use to those who only want the model

    wanted = range(batch_size) if rows is None else rows
    failures: list[Exception] = []

    def load(step: np.integer) -> np.ndarray:
        try:
            return batch(mixtures, seed, int(step), wanted)
        except Exception as error:
            failures.append(error)
            raise

    # The accelerator's memory is JAX's. Only TensorFlow's first user can say so, hence not later.
    tf.config.set_visible_devices([], "GPU")
    steps = tf.data.Dataset.range(start, stop)
    batches = steps.map(
        lambda step: tf.numpy_function(load, [step], tf.float32, stateful=False),
        num_parallel_calls=workers,
        deterministic=True,
    ).prefetch(2)

    def iterate() -> Generator[np.ndarray, None, None]:
        try:
            yield from batches.as_numpy_iterator()
        except tf.errors.OpError:
            if failures:
                raise failures[0] from None
            raise

    return iterate()
