"""An encoder of frames: every frame of the STFT is one vector, and convolutions join them in time.

Frames of digital silence are outside the recording, so zeros before or after it change nothing.
"""

from collections.abc import Iterator

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Complex

from audioslots_jax.fields import positive
from audioslots_jax.models.frame_block import FrameBlock
from audioslots_jax.models.interface import Features
from audioslots_jax.models.positions import centres


class Frames(nn.Module):
    """An encoder whose grid has one frequency, and a column for every frame of the STFT.

    Attributes:
      width: channels of a frame.
      blocks: number of blocks; the dilation doubles from each to the next.
      cycle: blocks after which it begins with 1 again. Dilations as long as a crop learn nothing.
      embedding: size of an embedding of every cell of the spectrogram, offered to the objective
        `affinity` under the name ``"embeddings"``, as (batch, time, frequency, embedding); 0 for
        none.
      embedding_block: whose output the embeddings are made of.
      dtype: of the products; parameters and the sums of blocks are float32.
    """

    width: int = 192
    blocks: int = 8
    cycle: int = 6
    embedding: int = 12
    embedding_block: int = 6
    dtype: DTypeLike = jnp.float32

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from positive(self, "width", "blocks", "cycle")
        if self.embedding < 0:
            yield "embedding", "must not be negative"
        if self.embedding and not 1 <= self.embedding_block <= self.blocks:
            yield "embedding_block", f"must be from 1 to blocks ({self.blocks})"

    @nn.compact
    def __call__(self, mixture: Complex[Array, "batch frequency time"]) -> Features:
        """Returns features of all frames, and each block's, embeddings and loudness by name."""
        batch, frequencies, times = mixture.shape
        parts = jnp.concatenate([jnp.abs(mixture), mixture.real, mixture.imag], axis=1)
        x = nn.Dense(self.width, dtype=self.dtype, name="input")(jnp.swapaxes(parts, 1, 2))
        x = x.astype(jnp.float32)
        loudness = jnp.mean(jnp.abs(mixture), axis=1)
        heard = loudness > 0
        named: dict[str, Array] = {"loudness": loudness}
        for block in range(1, self.blocks + 1):
            dilation = 2 ** ((block - 1) % self.cycle)
            x = FrameBlock(dilation, self.dtype, name=f"block{block}")(x, heard)
            named[f"block{block}"] = x
            if self.embedding and block == self.embedding_block:
                cells = nn.Dense(frequencies * self.embedding, dtype=self.dtype, name="embedding")
                values = cells(nn.LayerNorm(name="embedding_norm")(x))
                named["embeddings"] = values.reshape(batch, times, frequencies, self.embedding)
        x = nn.LayerNorm(name="norm")(x)
        return Features(x[:, None], centres(times), named)
