"""TensorBoard events through CLU: the one part of ``training/`` that imports TensorFlow."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np


class Events:
    """Where a run's events go: nowhere. `TensorBoard` writes them."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars by name."""

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """A picture of (height, width, 3) numbers in [0, 1]."""

    def audio(self, step: int, sounds: Mapping[str, np.ndarray], sample_rate: int) -> None:
        """Waveforms of one channel, full scale at +-1."""

    def flush(self) -> None:
        """Writes what is pending."""

    def close(self) -> None:
        """Writes what is pending, and ends."""


class TensorBoard(Events):
    """Scalars, pictures and audio of a run as TensorBoard events."""

    def __init__(self, workdir: Path):
        """Starts a new event file in ``workdir``."""
        from clu import metric_writers  # imports TensorFlow, which takes seconds

        self._writer = metric_writers.SummaryWriter(str(workdir))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Events`."""
        self._writer.write_scalars(step, values)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """See `Events`."""
        self._writer.write_images(step, {name: pixels[None]})

    def audio(self, step: int, sounds: Mapping[str, np.ndarray], sample_rate: int) -> None:
        """See `Events`."""
        shaped = {name: np.clip(sound, -1, 1)[None, :, None] for name, sound in sounds.items()}
        self._writer.write_audios(step, shaped, sample_rate=sample_rate)

    def flush(self) -> None:
        """See `Events`."""
        self._writer.flush()

    def close(self) -> None:
        """See `Events`."""
        self._writer.close()


def open_events(workdir: Path) -> Events:
    """TensorBoard events in ``workdir``; none, and a line that says so, where it cannot write."""
    missing = [name for name in ("tensorflow", "clu") if importlib.util.find_spec(name) is None]
    if not missing:
        return TensorBoard(workdir)
    print(f"without {' and '.join(missing)} no TensorBoard events; metrics.jsonl has the numbers.")
    return Events()
