"""From a mixture to estimates of its sources: front end, model, masks, inverse front end.

This is the only place where masks meet the mixture. Training, evaluation and the separation of
recordings all come through here.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Complex, Float, Inexact, Key

from audioslots_jax import fields, models
from audioslots_jax.audio import MASKS, STFT, apply_masks, compress, compress_complex, expand
from audioslots_jax.models import AudioSlots, Magnitudes, Masks


class Estimates(NamedTuple):
    """What a separator makes of a batch of mixtures; jit drops what is not used.

    Attributes:
      waveforms: of the slots, at the mixture's level.
      masks: what the mixture's spectrogram was multiplied with, real or complex.
      magnitudes: compressed magnitudes of the slots: the decoder's own, or those of its masks times
        the mixture.
      slots: source embeddings.
      named: whatever else the model offers, such as ``"grid"`` and ``"attention"``.
    """

    waveforms: Float[Array, "batch slot sample"]
    masks: Inexact[Array, "batch slot frequency time"]
    magnitudes: Float[Array, "batch slot frequency time"]
    slots: Float[Array, "batch slot embedding"]
    named: Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class STFTFields(STFT):
    """The section ``stft`` of a config: an `STFT`, and the exponent of its magnitudes."""

    power: float = 0.3

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from fields.positive(self, "window", "hop", "power")
        if self.window % 2:
            yield "window", "must be even"
        if 2 * self.hop > self.window:
            yield "hop", f"must be at most half of stft.window ({self.window})"


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """From waveforms to compressed spectrograms, and back.

    Attributes:
      stft: the transform.
      power: exponent of the magnitudes.
      mesh: the devices that batches are divided over, if they are.
    """

    stft: STFT
    power: float
    mesh: Mesh | None = None

    def size(self, samples: int) -> tuple[int, int]:
        """Returns (frequency bins, frames) of what the model sees of a waveform."""
        return self.stft.bins - 1, self.stft.frames(samples)

    def spectrogram(
        self, waveform: Float[Array, "batch *source sample"]
    ) -> Complex[Array, "batch *source bins time"]:
        """Returns the complex spectrogram."""
        return self.by_row(self.stft)(waveform)

    def magnitudes(
        self, waveform: Float[Array, "batch *source sample"]
    ) -> Float[Array, "batch *source frequency time"]:
        """Returns compressed magnitudes."""
        return compress(self.spectrogram(waveform), self.power)

    def waveform(
        self, spectrogram: Complex[Array, "batch *source bins time"], samples: int
    ) -> Float[Array, "batch *source sample"]:
        """Returns the waveform of a complex spectrogram."""
        return self.by_row(functools.partial(self.stft.inverse, samples=samples))(spectrogram)

    def by_row(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function of batches, and of them alone, that runs on every device's own rows.

        XLA gathers the whole batch on every device around Fourier transforms and host callbacks.
        """
        if self.mesh is None:
            return function
        rows = PartitionSpec(self.mesh.axis_names)
        # Unchecked, since the loops of optax's solver start from constants, which all devices have.
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=rows, out_specs=rows, check_vma=False
        )


@dataclasses.dataclass(frozen=True)
class Separator:
    """Front end and model. A pure function of parameters and mixtures, which holds neither.

    Attributes:
      model: the network.
      slots: the number of its slots.
      front_end: what it sees of a mixture.
      mask: what a decoder's magnitudes are made to, by a name in `MASKS`.
    """

    model: AudioSlots
    slots: int
    front_end: FrontEnd
    mask: str

    def __call__(
        self,
        params: Any,
        mixture: Float[Array, "batch sample"],
        *,
        gain: Float[Array, ""] | None = None,
        queries: Float[Array, "batch slot embedding"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Estimates:
        """Returns estimates of the sources of mixtures.

        What the model hears is ``gain`` times as loud; the estimates are as loud as the mixture.
        For ``queries`` and ``key`` see `AudioSlots`.
        """
        power = self.front_end.power
        spectrogram = self.front_end.spectrogram(mixture)
        heard = spectrogram if gain is None else spectrogram * gain.astype(spectrogram.dtype)
        outputs: Any = self.model.apply(params, compress_complex(heard, power), queries, key)
        decoded = outputs.decoded
        masks = decoded.values if isinstance(decoded, Masks) else self.masks(decoded)
        masked = apply_masks(masks, spectrogram)
        if isinstance(decoded, Magnitudes):
            magnitudes = decoded.values
        else:
            # A sum that is above 0 everywhere, whose power has a gradient.
            energy = jnp.square(masked.real) + jnp.square(masked.imag) + 1e-12
            magnitudes = energy[..., :-1, :] ** (power / 2)
        waveforms = self.front_end.waveform(masked, mixture.shape[-1])
        return Estimates(waveforms, masks, magnitudes, outputs.slots, outputs.named)

    def masks(self, magnitudes: Magnitudes) -> Float[Array, "batch slot frequency time"]:
        """Returns the masks that compressed magnitudes make."""
        return MASKS[self.mask](expand(magnitudes.values, self.front_end.power))

    def unmix(
        self, mixture: Float[Array, "batch sample"], magnitudes: Magnitudes
    ) -> Float[Array, "batch slot sample"]:
        """Returns a mixture taken apart by magnitudes that come from elsewhere.

        Those of the true sources make oracle masks; the paper's autoencoder reconstructs its own.
        """
        masked = apply_masks(self.masks(magnitudes), self.front_end.spectrogram(mixture))
        return self.front_end.waveform(masked, mixture.shape[-1])

    def init(self, key: Key[Array, ""], samples: int) -> Any:
        """Returns new parameters, for mixtures of about ``samples`` samples."""
        shape = (1, *self.front_end.size(samples))
        return self.model.init(key, jnp.zeros(shape, jnp.complex64), key=key)


def build(config: fields.Section, samples: int, mesh: Mesh | None = None) -> Separator:
    """Returns the separator of a config.

    Args:
      config: ``model``, ``stft``, ``precision``, ``eval.mask``, ``train.remat_decoder`` are read.
      samples: length of a training crop.
      mesh: the devices that batches are divided over, if they are.

    Raises:
      UserError: for a field that cannot be.
    """
    stft = fields.make_section(STFTFields, config.get("stft", {}), "stft")
    model = models.build(
        config["model"],
        stft.frames(samples),
        jnp.dtype(config.get("precision", "float32")),
        remat_decoder=config.get("train", {}).get("remat_decoder", False),
    )
    mask = config.get("eval", {}).get("mask", "wiener")
    return Separator(model, config["model"]["slots"], FrontEnd(stft, stft.power, mesh), mask)
