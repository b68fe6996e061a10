"""SIGTERM, with which clusters announce that they are about to take a machine away."""

import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils


class Preemption:
    """A context in which SIGTERM is noticed, in place of ending the process."""

    def __init__(self) -> None:
        """Starts with nothing announced."""
        self._announced = False
        # With several processes JAX listens for the signal, and has them agree on a step.
        self._listens = (
            not jax.distributed.is_initialized()
            and threading.current_thread() is threading.main_thread()
        )

    def __enter__(self) -> "Preemption":
        if self._listens:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._before)

    def stops(self, step: int) -> bool:
        """Returns whether to stop after this step; every process must ask after every step."""
        if jax.distributed.is_initialized():
            return multihost_utils.reached_preemption_sync_point(step)
        return self._announced

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._announced = True
