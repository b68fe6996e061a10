"""A trace of some steps, for TensorBoard's profile tab (XProf) and Perfetto."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

WARM_UP = 10  # steps before the trace, among them the one that compiles


class Trace:
    """A context that traces ``count`` steps of a run into ``workdir``, on the first process.

    A run that ends within them leaves a trace of those it had.
    """

    def __init__(self, workdir: Path, count: int, first_step: int, last_step: int):
        """Picks the steps after the first ten, or the last ones of a run that has no more."""
        start = max(first_step, min(first_step + WARM_UP, last_step + 1 - count))
        traced = count if jax.process_index() == 0 else 0
        self._workdir, self._steps = workdir, range(start, min(start + traced, last_step + 1))
        self._open = False

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *error: object) -> None:
        if self._open:
            self._stop()

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Marks the body as a step, which may begin the trace."""
        if self._steps and step == self._steps.start:
            jax.profiler.start_trace(str(self._workdir))
            self._open = True
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield

    def waits_after(self, step: int) -> bool:
        """Returns whether the trace begins or ends here, with all steps so far done."""
        return bool(self._steps) and step in (self._steps.start - 1, self._steps[-1])

    def end_after(self, step: int) -> None:
        """Writes the trace, if this was the last of its steps."""
        if self._open and step == self._steps[-1]:
            self._stop()

    def _stop(self) -> None:
        self._open = False
        jax.profiler.stop_trace()
