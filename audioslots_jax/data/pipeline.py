"""Streams batches, so that they are ready before the device asks for them.

The rule from (seed, step) to a batch belongs to the data set (`Mixtures.batch`). Here it is only
run ahead of time: by tf.data, or by plain threads where TensorFlow is not installed. Both give the
same batches.
"""

import contextlib
import importlib.util
from collections.abc import Callable, Generator

import numpy as np
from jaxtyping import Float32

from audioslots_jax.data.mixtures import Mixtures
from audioslots_jax.data.parallel import ordered_map

Batches = Generator[Float32[np.ndarray, "row source sample"], None, None]
Load = Callable[[int], np.ndarray]
Way = Callable[[Load, range, int], Batches]

AHEAD = 2  # batches that wait, ready, beside those in the making
STEPS = 4  # in an element of tf.data, of which each costs as much as half a batch


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed; finding out does not import it."""
    return importlib.util.find_spec("tensorflow") is not None


def stream(
    mixtures: Mixtures,
    *,
    seed: int,
    batch_size: int,
    start: int,
    stop: int,
    rows: range | None = None,
    workers: int = 2,
) -> Batches:
    """Batches of the steps ``start`` to ``stop - 1``, in order, through tf.data if there is one.

    The order and contents do not depend on ``workers``, and starting at any step costs nothing:
    a step's batch is computed from its number.

    Args:
      mixtures: the data set.
      seed: of the training's random choices.
      batch_size: rows of the global batch.
      start: first step.
      stop: the step after the last.
      rows: the rows of the global batch this host needs; all by default.
      workers: threads that make batches.

    Raises:
      Whatever `mixtures` raises, at the step that needs the batch.
    """
    wanted = range(batch_size) if rows is None else rows

    def load(step: int) -> np.ndarray:
        return mixtures.batch(seed, step, wanted, batch_size)

    way: Way = by_tf_data if has_tensorflow() else by_threads
    return way(load, range(start, stop), workers)


def by_threads(load: Load, steps: range, workers: int) -> Batches:
    """The batches that ``load`` gives for the steps, through Python's own threads."""
    batches = ordered_map(load, steps, workers=workers, ahead=workers + AHEAD)
    with contextlib.closing(batches):
        yield from batches


def by_tf_data(load: Load, steps: range, workers: int) -> Batches:
    """The batches that ``load`` gives for the steps, through tf.data."""
    import tensorflow as tf  # 1.7 s, and of no use to those who only want the model

    failures: dict[int, Exception] = {}

    def element(first: np.integer) -> list[np.ndarray]:
        batches = [np.empty(0, np.float32)] * STEPS
        for place, step in enumerate(within(int(first))):
            try:
                batches[place] = load(step)
            except Exception as error:
                failures[step] = error
                break
        return batches

    def within(first: int) -> range:
        return range(first, min(first + STEPS, steps.stop))

    # The accelerator's memory is JAX's. Only TensorFlow's first user can say so, hence not later.
    tf.config.set_visible_devices([], "GPU")
    elements = (
        tf.data.Dataset.range(steps.start, steps.stop, STEPS)
        .map(
            lambda first: tf.numpy_function(element, [first], [tf.float32] * STEPS, stateful=False),
            num_parallel_calls=workers,
            deterministic=True,
        )
        .prefetch(1)
    )
    firsts = range(steps.start, steps.stop, STEPS)
    for first, batches in zip(firsts, elements.as_numpy_iterator(), strict=True):
        for step, batch in zip(within(first), batches, strict=False):
            if step in failures:
                raise failures[step]
            yield batch
