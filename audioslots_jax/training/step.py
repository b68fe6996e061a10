"""One training step: sources in, a new state and its loss out. A pure function."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Complex, Float
from ml_collections import ConfigDict

from audioslots_jax import losses, models
from audioslots_jax.audio import STFT, compress
from audioslots_jax.models import AudioSlots, Outputs
from audioslots_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learned: from the mixture's spectrogram to those of its sources.

    Attributes:
      model: the network. With as many slots as sources it separates; with one slot it is the
        paper's autoencoder, which sees every source alone.
      slots: number of the model's slots.
      stft: the signal front end.
      power: exponent of the magnitudes.
      solver: of the matching.
    """

    model: AudioSlots
    slots: int
    stft: STFT
    power: float
    solver: str

    def size(self, samples: int) -> tuple[int, int]:
        """(frequency bins, frames) of the spectrogram of a crop."""
        return self.stft.bins - 1, self.stft.frames(samples)

    def spectrograms(
        self, sources: Float[Array, "batch source sample"]
    ) -> Complex[Array, "item slot bins time"]:
        """Complex spectrograms of the sources that the model sees together in one item.

        An item is a mixture; for the autoencoder it is a single source.
        """
        if self.slots == 1:
            sources = sources.reshape(-1, 1, sources.shape[-1])
        return self.stft(sources)

    def apply(self, params: Any, spectrograms: Complex[Array, "item slot bins time"]) -> Outputs:
        """The model's outputs for the mixtures of the given sources."""
        mixture = jnp.sum(spectrograms, axis=1)  # the transform is linear
        outputs: Any = self.model.apply(params, compress(mixture, self.power))
        return outputs

    def loss(self, params: Any, sources: Float[Array, "batch source sample"]) -> Float[Array, ""]:
        """Mean squared error of the matched spectrograms."""
        spectrograms = self.spectrograms(sources)
        estimates = self.apply(params, spectrograms).spectrograms
        targets = compress(spectrograms, self.power)
        return losses.matched_loss(targets, estimates, self.solver)[0]


def make_task(config: ConfigDict) -> Task:
    """The task of a config."""
    return Task(
        model=models.build(config.model),
        slots=config.model.slots,
        stft=STFT(config.stft.window, config.stft.hop, config.stft.edges),
        power=config.stft.power,
        solver=config.matching.solver,
    )


def train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    sources: Float[Array, "batch source sample"],
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """One step of the optimiser.

    Returns:
      The new state, and the loss and global gradient norm at the old one.
    """
    loss, gradients = jax.value_and_grad(task.loss)(state.params, sources)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    values = {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}
    return TrainState(state.step + 1, params, opt_state), values
