"""One training step: a batch in, a new state and its loss out. A pure function."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from audioslots_jax import matching, objectives, separator
from audioslots_jax.data.batch import Batch, crop_samples
from audioslots_jax.objectives import Objectives, with_other_partners
from audioslots_jax.separator import Separator
from audioslots_jax.sequences import Sequence
from audioslots_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
      separator: whose parameters are trained.
      objectives: what they are trained for.
      with_sources: share of a batch whose sources are known; of the others objectives see the
        mixtures alone.
      sequence: how crops are cut into chunks whose slots carry over; None if they are not cut.
    """

    separator: Separator
    objectives: Objectives
    with_sources: float = 1.0
    sequence: Sequence | None = None

    @property
    def autoencoder(self) -> bool:
        """Returns whether it has one slot: the paper's autoencoder, shown each source alone."""
        return self.separator.slots == 1

    def loss(self, params: Any, batch: Batch, key: Key[Array, ""]) -> Float[Array, ""]:
        """Returns the mean loss of the mixtures."""
        if self.with_sources == 1:
            batch = batch.alone() if self.autoencoder else batch
            if self.objectives.that_need("partners").parts:
                batch = with_other_partners(batch)
            return jnp.mean(self._losses(params, self.objectives, batch, key))
        known = round(self.with_sources * len(batch.mixture))
        shown, unknown = (
            jax.tree.map(lambda x, p=p: x[p], batch) for p in (slice(known), slice(known, None))
        )
        rows = {"sources": shown, "pairs": unknown.in_pairs(), "mixture": unknown.hidden()}
        losses = []
        for what, own in rows.items():
            objectives = self.objectives.that_need(what)
            if objectives.parts and len(own.mixture):
                losses.append(self._losses(params, objectives, own, key))
        return jnp.mean(jnp.concatenate(losses))

    def _losses(
        self, params: Any, objectives: Objectives, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, " batch"]:
        if self.sequence is None:
            return objectives(self.separator(params, batch.mixture, key=key), batch)
        estimates, batch = self.sequence.estimates(self.separator, params, batch, key)
        shared = self.sequence.shared(objectives.assign)
        return dataclasses.replace(objectives, assign=shared)(estimates, batch)


def make_task(config: ConfigDict, mesh: Mesh | None = None) -> Task:
    """Returns the task of a complete config, on the devices of a mesh or on one."""
    built = separator.build(config, crop_samples(config.data), mesh)
    solve = functools.partial(matching.assign, solver=config.matching.solver)
    assign = built.front_end.by_row(solve)
    learned = objectives.build(config.objectives, built.front_end, assign)
    return Task(built, learned, config.train.with_sources, make_sequence(config))


def make_sequence(config: ConfigDict) -> Sequence | None:
    """Returns how the crops of a training are cut into chunks, where ``train.sequence`` says so."""
    if config.train.sequence == 1:
        return None
    length = crop_samples(config.data)
    hop = max(round(length * (1 - config.eval.overlap)), 1)
    return Sequence(config.train.sequence, length, hop)


def training_samples(config: ConfigDict) -> int:
    """Returns the length of what is trained on, in samples: a crop, a sequence, or two in a row."""
    sequence = make_sequence(config)
    if sequence is not None:
        return sequence.samples
    chosen = (objectives.OBJECTIVES.get(name) for name in config.objectives)
    halves = any(getattr(objective, "needs", "") == "partners" for objective in chosen)
    return (2 if halves else 1) * crop_samples(config.data)  # see `with_other_partners`


def train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    *,
    seed: int = 0,
    micro_batches: int = 1,
    ema_decay: float = 0.0,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """Returns the state after a step, and the loss and global gradient norm before it.

    What the model draws depends on ``seed`` and the step alone. ``micro_batches`` are parts of the
    batch that are computed one after the other, to save memory; the devices sum their gradients
    after each. ``ema_decay`` is that of the parameters' moving average, if the state has one.
    """
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    gradient = jax.value_and_grad(task.loss)
    loss, gradients = _mean_of_parts(gradient, state.params, batch, key, micro_batches)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # Begins as a plain average, so that it forgets the random parameters of the start.
    decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
    average = optax.incremental_update(params, state.average, 1 - decay) if state.average else ()
    values = {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}
    return TrainState(state.step + 1, params, opt_state, average), values


def _mean_of_parts(
    function: Callable[[Any, Batch, Key[Array, ""]], Any],
    params: Any,
    batch: Batch,
    key: Key[Array, ""],
    micro_batches: int,
) -> Any:
    """Returns the mean over micro-batches of what ``function`` gives for each."""
    if micro_batches == 1:
        return function(params, batch, key)
    # Every k-th row, so that each device keeps its own rows.
    parts = jax.tree.map(
        lambda x: jnp.swapaxes(x.reshape(-1, micro_batches, *x.shape[1:]), 0, 1), batch
    )
    keys = jax.random.split(key, micro_batches)

    def add(total: Any, part: tuple[Batch, Key[Array, ""]]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(params, *part)), None

    shapes = jax.eval_shape(function, params, jax.tree.map(lambda x: x[0], parts), key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, (parts, keys))
    return jax.tree.map(lambda x: x / micro_batches, total)
