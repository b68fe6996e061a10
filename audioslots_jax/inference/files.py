"""A recording's file in, a file for every slot out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audioslots_jax.data.sound_files import SoundFile
from audioslots_jax.inference.recordings import RecordingSeparator
from audioslots_jax.inference.trace import Trace
from audioslots_jax.progress import progress


class SeparatedFile(NamedTuple):
    """What became of a recording.

    Attributes:
      sample_rate: in Hz.
      outputs: a file per source.
      slots: that are in the files, from 0.
      probabilities: that they hold one.
    """

    sample_rate: int
    outputs: list[Path]
    slots: list[int]
    probabilities: list[float]


def separate_file(
    separator: RecordingSeparator,
    path: Path,
    outputs: Sequence[Path],
    mix_down: bool,
    sources: int | None = None,
    trace: Trace | None = None,
) -> SeparatedFile:
    """Separates a file into one file per source, of the same format, rate and length.

    Shows a progress bar. The files, the first of the ``outputs``, appear when all of them are
    whole. There are so many ``sources``, or as many as the model finds. With ``mix_down`` several
    channels become one, rather than being separated each. A ``trace`` gathers how the chunks were
    joined.

    Raises:
      UserError: if the recording cannot be read or separated, or a file cannot be written.
    """
    with SoundFile(path) as file:
        sample_rate = file.sample_rate
        channels, blocks = file.channels, file.blocks()
        if mix_down:
            channels, blocks = 1, (block.mean(axis=0, keepdims=True) for block in blocks)
        bar = progress(total=file.frames, desc=path.name, unit="s", unit_scale=1 / sample_rate)
        presences = separator.presences()
        with bar, file.writers(outputs, channels) as writers:
            for separated in separator.stream(blocks, sample_rate, str(path), presences, trace):
                writers.write(separated)
                bar.update(separated.shape[2])
            chosen = list(range(len(outputs)))
            if separator.counts or sources is not None:
                chosen = presences.chosen(sources)
            writers.kept = chosen
    outputs = list(outputs[: len(chosen)])
    probabilities = presences.probabilities[np.array(chosen, int)]
    return SeparatedFile(sample_rate, outputs, chosen, [float(p) for p in probabilities])
