"""Short-time Fourier transform of chunks, and its inverse, in two protocols.

Both protocols use a periodic Hann window and give ``ceil(samples / hop)`` frames, so that a 0.5 s
chunk at 16 kHz becomes 64 frames (window 512, hop 125). They differ at the edges of the chunk:

* ``"chunk_edge"`` (protocol A): frame ``t`` starts at sample ``t * hop``; zeros are appended only
  at the end. The inverse uses the window that is dual to an endless sequence of frames, so the
  first ``window - hop`` samples, which miss the frames before the chunk, come back attenuated. This
  is what reproduces the oracle rows of the paper's Table 1.
* ``"centred"`` (protocol B): frame ``t`` is centred on sample ``t * hop``. The inverse divides by
  the frames that are really there, so no sample of the chunk is lost.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

EDGES = ("centred", "chunk_edge")

# The least share of the largest window energy that the centred inverse divides by. Samples that
# frames barely reach come back attenuated; dividing by next to nothing would turn what a mask
# leaves there into clicks.
EDGE_FLOOR = 0.1


@dataclasses.dataclass(frozen=True)
class STFT:
    """A short-time Fourier transform; calling it goes from waveforms to spectrograms.

    Attributes:
      window: length of the periodic Hann window in samples.
      hop: distance between frames in samples, at most half a window.
      edges: ``"centred"`` (protocol B) or ``"chunk_edge"`` (protocol A), see the module.
    """

    window: int = 512
    hop: int = 125
    edges: Literal["centred", "chunk_edge"] = "centred"

    @property
    def bins(self) -> int:
        """Returns the number of frequency bins, the Nyquist bin included."""
        return self.window // 2 + 1

    def frames(self, samples: int) -> int:
        """Returns the number of frames of a chunk of ``samples`` samples."""
        return -(-samples // self.hop)

    def __call__(
        self, waveform: Float[Array, "*batch sample"]
    ) -> Complex[Array, "*batch frequency time"]:
        """Returns the complex spectrogram, with all ``window // 2 + 1`` bins."""
        samples = waveform.shape[-1]
        frames = self.frames(samples)
        # Cutting into blocks of one hop turns framing into slices, which every backend does well.
        blocks_per_frame = -(-self.window // self.hop)
        blocks = frames + blocks_per_frame - 1
        end = max(blocks * self.hop - self._front - samples, 0)
        padded = jnp.pad(waveform, [(0, 0)] * (waveform.ndim - 1) + [(self._front, end)])
        padded = padded[..., : blocks * self.hop].reshape(*waveform.shape[:-1], blocks, self.hop)
        framed = jnp.concatenate(
            [padded[..., i : i + frames, :] for i in range(blocks_per_frame)], axis=-1
        )[..., : self.window]
        window = jnp.asarray(hann(self.window), waveform.dtype)
        spectrum = jnp.fft.rfft(framed * _broadcast(window, framed.ndim))
        return jnp.swapaxes(spectrum, -1, -2)

    def inverse(
        self, spectrogram: Complex[Array, "*batch frequency time"], samples: int
    ) -> Float[Array, "*batch sample"]:
        """Returns waveforms of ``samples`` samples from complex spectrograms.

        ``"centred"`` reconstructs every sample perfectly where ``hop <= window / 4``; with longer
        hops the last ``hop - window / 4`` samples may be attenuated. ``"chunk_edge"`` reconstructs
        from sample ``window - hop`` on.
        """
        frames = jnp.fft.irfft(jnp.swapaxes(spectrogram, -1, -2), n=self.window)
        centred = self.edges == "centred"
        window = hann(self.window) if centred else _dual_window(hann(self.window), self.hop)
        synthesis = jnp.asarray(window, frames.dtype)
        signal = overlap_add(frames * _broadcast(synthesis, frames.ndim), self.hop)
        if centred:
            squares = jnp.broadcast_to(jnp.square(synthesis)[None], frames.shape[-2:])
            energy = overlap_add(squares, self.hop)
            floor = EDGE_FLOOR * jnp.max(energy)
            signal = signal / _broadcast(jnp.maximum(energy, floor), signal.ndim)
        return signal[..., self._front : self._front + samples]

    @property
    def _front(self) -> int:
        return self.window // 2 if self.edges == "centred" else 0


def hann(length: int) -> np.ndarray:
    """Returns the periodic Hann window of ``length`` samples, float64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def _dual_window(window: np.ndarray, hop: int) -> np.ndarray:
    """Returns the canonical dual of ``window`` for an endless sequence of frames."""
    energy = np.zeros(hop)
    for start in range(0, len(window), hop):
        part = window[start : start + hop] ** 2
        energy[: len(part)] += part
    return window / energy[np.arange(len(window)) % hop]


def overlap_add(
    frames: Float[Array, "*batch time window"], hop: int
) -> Float[Array, "*batch sample"]:
    """Returns the sum of frames that begin ``hop`` samples apart."""
    *batch, time, window = frames.shape
    blocks = -(-window // hop)
    unbatched = [(0, 0)] * len(batch)
    frames = jnp.pad(frames, [*unbatched, (0, 0), (0, blocks * hop - window)])
    frames = frames.reshape(*batch, time, blocks, hop)
    shifted = [
        jnp.pad(frames[..., i, :], [*unbatched, (i, blocks - 1 - i), (0, 0)]) for i in range(blocks)
    ]
    return sum(shifted[1:], shifted[0]).reshape(*batch, (time + blocks - 1) * hop)


def _broadcast(vector: jax.Array, ndim: int) -> jax.Array:
    """Returns ``vector`` with leading axes, as nothing relies on implicit rank promotion."""
    return vector.reshape((1,) * (ndim - 1) + vector.shape)
