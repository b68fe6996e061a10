"""How fast a run is: steps, crops, waiting for input, and the share of the devices' peak FLOP/s."""

import contextlib
import time
from collections.abc import Iterator

# Dense bfloat16 products, in FLOP/s of one JAX device, as the makers give them.
PEAK_FLOPS = {
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


def peak_flops(device_kind: str) -> float | None:
    """Returns the most FLOP/s that a device of this ``device_kind`` can do; None if not known."""
    names = [name for name in PEAK_FLOPS if device_kind.startswith(name)]
    return PEAK_FLOPS[max(names, key=len)] if names else None


class Throughput:
    """A clock of the training loop, which stands still in what is none of its steps."""

    def __init__(self, batch_size: int, flops: float | None = None):
        """Starts the clock.

        A step's ``flops`` are a share of what all devices can do in a second; None if not known.
        """
        self._batch_size, self._flops = batch_size, flops
        self._reset()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts a step, and the time that the body waits for its batch."""
        before = time.monotonic()
        yield
        self._waited += time.monotonic() - before
        self._steps += 1

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out the time of the body, which is not training."""
        before = time.monotonic()
        yield
        self._started += time.monotonic() - before

    def read(self) -> dict[str, float]:
        """Returns the speed since the last call, by steps that are all done.

        Returns:
          ``steps_per_second`` and ``crops_per_second``; ``input_wait``, the share of the time in
          which the loop waited for a batch; where ``flops`` is known ``mfu``, the share that the
          model's FLOP/s are of the devices' peak.
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
