"""TensorBoard events through CLU: the one part of ``training/`` that imports TensorFlow."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np


class TensorBoard:
    """Scalars, pictures and audio of a run as TensorBoard events."""

    def __init__(self, workdir: Path):
        """Starts a new event file in ``workdir``."""
        from clu import metric_writers  # imports TensorFlow, which takes seconds

        self._writer = metric_writers.SummaryWriter(str(workdir))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars by name."""
        self._writer.write_scalars(step, values)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """A picture of (height, width, 3) numbers in [0, 1]."""
        self._writer.write_images(step, {name: pixels[None]})

    def audio(self, step: int, sounds: Mapping[str, np.ndarray], sample_rate: int) -> None:
        """Waveforms of one channel, full scale at +-1."""
        shaped = {name: np.clip(sound, -1, 1)[None, :, None] for name, sound in sounds.items()}
        self._writer.write_audios(step, shaped, sample_rate=sample_rate)

    def close(self) -> None:
        """Writes what is pending."""
        self._writer.close()

    def flush(self) -> None:
        """Writes what is pending."""
        self._writer.flush()
