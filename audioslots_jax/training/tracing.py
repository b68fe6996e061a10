"""A trace of some steps, for TensorBoard's profile tab (XProf) and Perfetto."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

WARM_UP = 10  # steps before the trace, among them those that compile


class Trace:
    """Traces ``count`` steps of a run into ``workdir``, on the first process."""

    def __init__(self, workdir: Path, count: int, first_step: int, last_step: int):
        """Picks steps soon after the first, but for the first few if there are others."""
        start = max(first_step, min(first_step + WARM_UP, last_step + 1 - count))
        traced = count if jax.process_index() == 0 else 0
        self._workdir, self._steps = workdir, range(start, min(start + traced, last_step + 1))

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Around a step."""
        if self._steps and step == self._steps.start:
            jax.profiler.start_trace(str(self._workdir))
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield

    def ends_after(self, step: int) -> bool:
        """Whether the trace ends after this step, which must be done before it does."""
        return bool(self._steps) and step == self._steps[-1]

    def end_after(self, step: int) -> None:
        """Writes the trace after its last step."""
        if self.ends_after(step):
            jax.profiler.stop_trace()
