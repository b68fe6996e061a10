"""What users of Libri2Mix do today: mixtures written to disk, read by a torch data set.

The data set reads as Asteroid's for LibriMix does: a segment of the mixture's wav file and of each
source's, with soundfile.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch

from audioslots_jax.data.libri2mix import Libri2Mix


def write_mixtures(mixtures: Libri2Mix, folder: Path) -> list[tuple[Path, Path, Path, int]]:
    """Writes every mixture as three 16-bit wav files.

    Returns:
      The files of each, the mixture first, and their length in samples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, item in enumerate(mixtures):
        paths = tuple(folder / f"{number}-{name}.wav" for name in ("mixture", "s1", "s2"))
        for path, audio in zip(paths, (item.mixture, *item.sources), strict=True):
            soundfile.write(path, audio, item.sample_rate)
        written.append((*paths, len(item.mixture)))
    return written


class Segments(torch.utils.data.Dataset):
    """Random segments of mixtures and their sources."""

    def __init__(self, files: list[tuple[Path, Path, Path, int]], samples: int):
        self.files, self.samples = files, samples

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        *paths, length = self.files[index]
        start = random.randint(0, length - self.samples)
        stop = start + self.samples
        mixture, *sources = (
            soundfile.read(path, dtype="float32", start=start, stop=stop)[0] for path in paths
        )
        return torch.from_numpy(mixture), torch.from_numpy(np.vstack(sources))


def stream(
    files: list[tuple[Path, Path, Path, int]], samples: int, batch_size: int, batches: int
) -> Iterator[np.ndarray]:
    """Yields the sources of training batches, through a loader with two workers."""
    data = Segments(files, samples)
    sampler = torch.utils.data.RandomSampler(
        data, replacement=True, num_samples=batches * batch_size
    )
    loader = torch.utils.data.DataLoader(
        data, batch_size=batch_size, sampler=sampler, num_workers=2, drop_last=True
    )
    for _, sources in loader:
        yield sources.numpy()
