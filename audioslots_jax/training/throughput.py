"""How fast a run is: steps, crops, waiting for input, and the share of the device's peak."""

import contextlib
import time
from collections.abc import Iterator

# Dense bfloat16 products, in FLOP/s of one JAX device, as the makers give them.
PEAKS = {
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "NVIDIA B200": 2250e12,
}


def peak(device_kind: str) -> float | None:
    """The peak of a kind of device (``jax.Device.device_kind``) in FLOP/s; None if not known."""
    names = [name for name in PEAKS if device_kind.startswith(name)]
    return PEAKS[max(names, key=len)] if names else None


class Throughput:
    """Measures the training loop by the clock, but for what is none of its steps."""

    def __init__(self, batch_size: int, flops: float | None = None):
        """Starts to measure.

        Args:
          batch_size: crops of a step.
          flops: what a step needs, as a share of what all devices do in a second at their peak;
            None if that is not known.
        """
        self._batch_size, self._flops = batch_size, flops
        self._reset()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for the batch of a step."""
        before = time.monotonic()
        yield
        self._waited += time.monotonic() - before
        self._steps += 1

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Around what is not training."""
        before = time.monotonic()
        yield
        self._started += time.monotonic() - before

    def read(self) -> dict[str, float]:
        """What was measured since the last call, for steps that are all done.

        Returns:
          ``steps_per_second`` and ``crops_per_second``; ``input_wait``, the share of the time in
          which the loop waited for a batch; where the peak is known ``mfu``, the model's FLOP/s as
          a share of it.
        """
        seconds = time.monotonic() - self._started
        values = {
            "steps_per_second": self._steps / seconds,
            "crops_per_second": self._steps * self._batch_size / seconds,
            "input_wait": self._waited / seconds,
        }
        if self._flops is not None:
            values["mfu"] = self._flops * self._steps / seconds
        self._reset()
        return values

    def _reset(self) -> None:
        self._started, self._waited, self._steps = time.monotonic(), 0.0, 0
