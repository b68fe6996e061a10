"""Streams batches, so that they are ready before the device asks for them.

The rule from (seed, step) to a batch belongs to the data set (`Mixtures.batch`). Here it is only
run ahead of time: by tf.data, or by plain threads where TensorFlow is not installed. Both give the
same batches.
"""

import contextlib
from collections.abc import Callable, Generator

import numpy as np

from audioslots_jax.data.batch import Batch, Mixtures
from audioslots_jax.data.parallel import ordered_map
from audioslots_jax.data.tensorflow_import import has_tensorflow, import_tensorflow

Batches = Generator[Batch, None, None]
Load = Callable[[int], Batch]

AHEAD = 2  # batches that wait, ready, beside those in the making
STEPS = 4  # in an element of tf.data, of which each costs as much as half a batch
EMPTY = Batch(np.empty((0, 0), np.float32), np.empty((0, 0, 0), np.float32), np.empty((0, 0), bool))


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
    """Returns the batches of the steps ``start`` to ``stop - 1``, through tf.data if there is one.

    They do not depend on ``workers``, the number of threads, and starting at any step costs
    nothing: a step's batch is computed from its number. What goes wrong is raised at its step.
    ``rows`` are those of the global batch that this host needs; all by default.
    """
    own_rows = range(batch_size) if rows is None else rows

    def load(step: int) -> Batch:
        return mixtures.batch(seed, step, own_rows, batch_size)

    run_ahead = by_tf_data if has_tensorflow() else by_threads
    return run_ahead(load, range(start, stop), workers)


def by_threads(load: Load, steps: range, workers: int) -> Batches:
    """Yields the batches that ``load`` gives for the steps, through Python's own threads."""
    batches = ordered_map(load, steps, workers=workers, ahead=workers + AHEAD)
    with contextlib.closing(batches):
        yield from batches


def by_tf_data(load: Load, steps: range, workers: int) -> Batches:
    """Yields the batches that ``load`` gives for the steps, through tf.data."""
    tf = import_tensorflow()
    failures: dict[int, Exception] = {}
    firsts = range(steps.start, steps.stop, STEPS)

    def element(first: np.integer) -> list[np.ndarray]:
        batches = [EMPTY] * STEPS
        for number, step in enumerate(within(int(first))):
            try:
                batches[number] = load(step)
            except Exception as error:
                failures[step] = error
                break
        return [np.asarray(array) for batch in batches for array in batch]

    def within(first: int) -> range:
        return range(first, min(first + STEPS, steps.stop))

    types = [array.dtype for array in EMPTY] * STEPS
    elements = (
        tf.data.Dataset.range(firsts.start, firsts.stop, STEPS)
        .map(
            lambda first: tf.numpy_function(element, [first], types, stateful=False),
            num_parallel_calls=workers,
            deterministic=True,
        )
        .prefetch(1)
    )
    for first, arrays in zip(firsts, elements.as_numpy_iterator(), strict=True):
        for number, step in enumerate(within(first)):
            if step in failures:
                raise failures[step]
            yield Batch(*arrays[len(EMPTY) * number :][: len(EMPTY)])
