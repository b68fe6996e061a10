"""The rows of the table: what makes estimates of the sources of whole mixtures."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from audioslots_jax import UserError
from audioslots_jax import separator as separators
from audioslots_jax.audio import apply_masks, compress
from audioslots_jax.data.batch import Whole
from audioslots_jax.data.libri2mix import SOURCES
from audioslots_jax.data.librispeech import SAMPLE_RATE
from audioslots_jax.inference.recordings import RecordingSeparator
from audioslots_jax.models import Magnitudes
from audioslots_jax.separator import Separator
from configs import paper
from experiments.table1 import protocols

CHUNKS = {0.5: SAMPLE_RATE // 2, 1.0: SAMPLE_RATE}  # seconds: samples
EDGES = {"A": "chunk_edge", "B": "centred"}  # of the STFT, by protocol
STITCHINGS = ("oracle", "blind")


class Estimator(NamedTuple):
    """A row.

    Attributes:
      row: its name.
      chunks: the lengths of chunk that it can do, in seconds.
      separator: whose protocol and mask are exchanged.
      estimate: of the sources of chunks; see `protocols`.
      magnitudes: what the figure shows of the sources of chunks.
      params: of a network.
      trained: the network of the row ``audioslots``, which is stitched blindly as for users.
    """

    row: str
    chunks: tuple[float, ...]
    separator: Separator
    estimate: protocols.Estimate
    magnitudes: Callable[[Separator, Any, protocols.Sources], Float[Array, "..."]]
    params: Any = None
    trained: RecordingSeparator | None = None

    def estimates(
        self, whole: Whole, seconds: float, protocol: str, mask: str, stitching: str
    ) -> Float32[np.ndarray, "slot sample"]:
        """Returns estimates of the sources of a whole mixture, made in the given way."""
        separator = with_protocol(self.separator, protocol, mask)
        if stitching == "blind" and self.trained:
            trained = dataclasses.replace(self.trained, separator=separator)
            return np.asarray(trained(whole.mixture, SAMPLE_RATE))
        return protocols.whole_estimates(
            self.estimate, separator, self.params, whole.sources, CHUNKS[seconds], stitching
        )


def with_protocol(separator: Separator, protocol: str, mask: str) -> Separator:
    """Returns a separator with the STFT of a protocol, whichever it was trained on."""
    stft = dataclasses.replace(separator.front_end.stft, edges=EDGES[protocol])
    front_end = dataclasses.replace(separator.front_end, stft=stft)
    return dataclasses.replace(separator, front_end=front_end, mask=mask)


def masked_mixture(
    separator: Separator, params: Any, sources: protocols.Sources
) -> Float[Array, "chunk source frequency time"]:
    """Returns compressed magnitudes of the mixture through the oracle's masks."""
    front_end = separator.front_end
    masks = separator.masks(Magnitudes(front_end.magnitudes(sources)))
    mixture = front_end.spectrogram(jnp.sum(sources, axis=1))
    return compress(apply_masks(masks, mixture), front_end.power)


def seen_in_mixture(
    separator: Separator, params: Any, sources: protocols.Sources
) -> Float[Array, "chunk slot frequency time"]:
    """Returns compressed magnitudes that a network makes of the mixture."""
    return separator(params, jnp.sum(sources, axis=1)).magnitudes


ORACLE = Estimator(
    "oracle",
    tuple(CHUNKS),
    separators.build(paper.get_config(), CHUNKS[0.5]),  # for its front end; it has no parameters
    protocols.oracle,
    masked_mixture,
)


def load(run: Path, row: str) -> Estimator:
    """Returns the row that the network of a run makes: ``autoencoder`` or ``audioslots``.

    Raises:
      UserError: if there is no network in the run, or not one for this row and this table.
    """
    import audioslots_jax

    trained = audioslots_jax.load(run)
    separator, seconds = trained.separator, trained.crop / trained.sample_rate
    stft, asked = separator.front_end.stft, ORACLE.separator.front_end.stft
    if trained.sample_rate != SAMPLE_RATE:
        raise UserError(
            f"{run} was trained at {trained.sample_rate} Hz; Libri2Mix is scored at "
            f"{SAMPLE_RATE} Hz: choose a run at that rate."
        )
    if seconds not in CHUNKS:
        raise UserError(
            f"{run} was trained on chunks of {seconds:g} s; the table has rows for "
            f"{' and '.join(f'{chunk:g} s' for chunk in CHUNKS)}."
        )
    if (stft.window, stft.hop) != (asked.window, asked.hop):
        raise UserError(
            f"{run} was trained with an STFT of window {stft.window} and hop {stft.hop}; the table "
            f"has {asked.window} and {asked.hop}."
        )
    slots = 1 if row == "autoencoder" else SOURCES
    if separator.slots != slots:
        raise UserError(
            f"{run} has a network with {separator.slots} slots; the row {row} needs one with "
            f"{slots}: --autoencoder takes a run with one slot, --model one with two."
        )
    if row == "autoencoder":
        made_by = protocols.autoencoder, protocols.reconstructions, trained.params
        return Estimator(row, (seconds,), separator, *made_by)
    made_by = protocols.network, seen_in_mixture, trained.params
    return Estimator(row, (seconds,), separator, *made_by, trained)
