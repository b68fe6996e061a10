"""Checkpoints: the state, and the metrics on their way to a log, saved together by Orbax."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from audioslots_jax.errors import UserError
from audioslots_jax.training.state import TrainState

# The values of each step since the last line of metrics.
Window = list[dict[str, float]]


class Checkpoints:
    """The checkpoints of a run: the last few, and the one with the best score.

    Saving is asynchronous and atomic: a run killed in the middle of it finds the one before.
    """

    def __init__(self, directory: Path, keep: int):
        """Opens ``directory``, which is made if it does not exist; keeps the last ``keep``."""
        keep_last = checkpoint_managers.LatestN(keep)
        keep_best = checkpoint_managers.BestN(
            get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False
        )
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                    [keep_last, keep_best]
                ),
                best_fn=_score,
                cleanup_tmp_directories=True,
            ),
        )

    def save(self, state: TrainState, window: Window, score: float | None) -> None:
        """Starts to save.

        Args:
          state: the state after a step.
          window: the values of the steps since the last line of metrics.
          score: what makes a checkpoint the best; None where nothing was evaluated.
        """
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                # A copy: it is written while the loop goes on with its own.
                window=ocp.args.JsonSave(list(window)),
            ),
            metrics=None if score is None else {"score": score},
        )

    def restore(self, like: TrainState) -> tuple[TrainState, Window] | None:
        """The last checkpoint, placed like ``like`` (which may be abstract); None if none is."""
        step = self._manager.latest_step()
        if step is None:
            return None
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(like), window=ocp.args.JsonRestore()
            ),
        )
        return restored["state"], restored["window"]

    def close(self) -> None:
        """Waits for what is being saved."""
        self._manager.wait_until_finished()
        self._manager.close()


def restore_params(
    directory: Path, like: Any, *, average: bool = False
) -> tuple[Any, int, float | None]:
    """The parameters of the best checkpoint of a run, or of the last one if none was scored.

    Args:
      directory: the checkpoints of the run.
      like: the shapes of the parameters.
      average: whether to read their moving average instead.

    Returns:
      The parameters, the step they were saved after, and their score.

    Raises:
      UserError: if there is no checkpoint, or it does not hold these parameters.
    """
    name = "average" if average else "params"
    steps = [int(path.name) for path in directory.glob("*") if path.name.isdigit()]
    if not steps:
        raise UserError(f"{directory.parent} has no checkpoint yet; train it first.")
    options = ocp.CheckpointManagerOptions(create=False, best_fn=_score)
    step = max(steps)
    try:
        with ocp.CheckpointManager(directory.absolute(), options=options) as manager:
            best = manager.best_step()
            step = step if best is None else best
            metrics = manager.metrics(step)
        # The optimiser's state is twice as large as the parameters, and of no use here.
        restored = ocp.PyTreeCheckpointer().restore(
            directory.absolute() / str(step) / "state",
            args=ocp.args.PyTreeRestore(
                item={name: like},
                # As they were saved; given shapes, Orbax would cut or pad others to them.
                restore_args=jax.tree.map(
                    lambda _: ocp.RestoreArgs(restore_type=np.ndarray), {name: like}
                ),
                partial_restore=True,
            ),
        )
        if jax.tree.map(np.shape, restored[name]) != jax.tree.map(np.shape, like):
            raise ValueError("it holds another model than config.json describes")
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{directory / str(step)} cannot be read ({reason}).") from None
    return (
        jax.tree.map(jnp.asarray, restored[name]),
        step,
        metrics["score"] if metrics else None,
    )


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]


def placed(state: TrainState, shardings: Any) -> TrainState:
    """The shapes of ``state``, each placed on its sharding."""
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        state,
        shardings,
    )
