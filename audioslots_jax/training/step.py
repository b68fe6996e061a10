"""One training step: sources in, a new state and its loss out. A pure function."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Complex, Float, Int
from ml_collections import ConfigDict

from audioslots_jax import losses, matching, models
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
      mesh: the devices that batches are divided over, if they are.
    """

    model: AudioSlots
    slots: int
    stft: STFT
    power: float
    solver: str
    mesh: Mesh | None = None

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
        return self.by_row(self.stft)(sources)

    def apply(self, params: Any, spectrograms: Complex[Array, "item slot bins time"]) -> Outputs:
        """The model's outputs for the mixtures of the given sources."""
        mixture = jnp.sum(spectrograms, axis=1)  # the transform is linear
        outputs: Any = self.model.apply(params, compress(mixture, self.power))
        return outputs

    def assign(self, costs: Float[Array, "item source slot"]) -> Int[Array, "item source"]:
        """The slot of every source; see `matching.assign`."""
        return self.by_row(functools.partial(matching.assign, solver=self.solver))(costs)

    def by_row(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of arrays of rows, which each device applies to the rows that it has.

        Most of the work XLA divides by itself; for Fourier transforms and for callbacks it would
        have every device gather the whole batch.
        """
        if self.mesh is None:
            return function
        rows = PartitionSpec(self.mesh.axis_names)
        # Unchecked, since the loops of optax's solver start from constants, which all devices have.
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=rows, out_specs=rows, check_vma=False
        )

    def loss(self, params: Any, sources: Float[Array, "batch source sample"]) -> Float[Array, ""]:
        """Mean squared error of the matched spectrograms."""
        spectrograms = self.spectrograms(sources)
        estimates = self.apply(params, spectrograms).spectrograms
        targets = compress(spectrograms, self.power)
        return losses.matched_loss(targets, estimates, self.assign)[0]


def make_task(config: ConfigDict, mesh: Mesh | None = None) -> Task:
    """The task of a config, on the devices of a mesh or on one."""
    return Task(
        model=models.build(
            config.model,
            jnp.dtype(config.precision),
            remat_decoder=config.train.remat_decoder,
        ),
        slots=config.model.slots,
        stft=STFT(config.stft.window, config.stft.hop, config.stft.edges),
        power=config.stft.power,
        solver=config.matching.solver,
        mesh=mesh,
    )


def train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    sources: Float[Array, "batch source sample"],
    *,
    micro_batches: int = 1,
    ema_decay: float = 0.0,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """One step of the optimiser.

    Args:
      task: what is learned.
      optimizer: of the parameters.
      state: before the step.
      sources: the batch.
      micro_batches: parts of the batch that are computed one after the other, to save memory; the
        devices sum their gradients after each.
      ema_decay: of the moving average of the parameters, if the state has one.

    Returns:
      The new state, and the loss and global gradient norm at the old one.
    """
    loss, gradients = _mean_of_parts(
        jax.value_and_grad(task.loss), state.params, sources, micro_batches
    )
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # Begins as a plain average, so that it forgets the random parameters of the start.
    decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
    average = optax.incremental_update(params, state.average, 1 - decay) if state.average else ()
    values = {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}
    return TrainState(state.step + 1, params, opt_state, average), values


def _mean_of_parts(
    function: Callable[[Any, Array], Any],
    params: Any,
    sources: Float[Array, "batch source sample"],
    micro_batches: int,
) -> Any:
    """The mean over micro-batches of what ``function`` gives for each."""
    if micro_batches == 1:
        return function(params, sources)
    # Every k-th row, so that each device keeps its own rows.
    parts = jnp.swapaxes(sources.reshape(-1, micro_batches, *sources.shape[1:]), 0, 1)

    def add(total: Any, part: Array) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(params, part)), None

    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, params, parts[0])
    )
    total, _ = jax.lax.scan(add, zeros, parts)
    return jax.tree.map(lambda x: x / micro_batches, total)
