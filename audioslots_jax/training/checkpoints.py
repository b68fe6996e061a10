"""Checkpoints: the state, and the metrics on their way to a log, saved together by Orbax."""

import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from audioslots_jax.errors import UserError

if TYPE_CHECKING:
    # It imports Optax, which whoever restores parameters to separate with is spared.
    from audioslots_jax.training.state import TrainState

# The values of each step since the last line of metrics.
Window = list[dict[str, float]]
SCORE = operator.itemgetter("score")


class Checkpoints:
    """The checkpoints of a run: the last few, and the one with the best score.

    Saving is asynchronous and atomic: a run killed in the middle of it finds the one before.
    """

    def __init__(self, directory: Path, keep: int):
        """Opens ``directory``, which is made if it does not exist; keeps the last ``keep``."""
        keep_last = checkpoint_managers.LatestN(keep)
        keep_best = checkpoint_managers.BestN(
            get_metric_fn=SCORE, n=1, keep_checkpoints_without_metrics=False
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy([keep_last, keep_best]),
            best_fn=SCORE,
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def save(self, state: "TrainState", window: Window, score: float | None) -> None:
        """Starts to save the state after a step; a ``score`` may make it the best."""
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                # A copy: it is written while the loop goes on with its own.
                window=ocp.args.JsonSave(list(window)),
            ),
            metrics=None if score is None else {"score": score},
        )

    def restore(self, like: "TrainState") -> "tuple[TrainState, Window] | None":
        """Returns the last checkpoint, if any, on the devices of ``like`` (it may be abstract)."""
        step = self._manager.latest_step()
        if step is None:
            return None
        state, window = ocp.args.StandardRestore(like), ocp.args.JsonRestore()
        restored = self._manager.restore(step, args=ocp.args.Composite(state=state, window=window))
        return restored["state"], restored["window"]

    def close(self) -> None:
        """Ends it all, once what is being saved is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def restore_params(
    directory: Path, like: Any, *, average: bool = False
) -> tuple[Any, int, float | None]:
    """Returns the parameters of a run's best checkpoint, the step it is of, and its score.

    If none was scored, the last checkpoint counts as the best. Parameters have the shapes of
    ``like``; with ``average`` they are the moving average of the parameters.

    Raises:
      UserError: if there is no checkpoint, or it does not hold these parameters.
    """
    name = "average" if average else "params"
    steps = [int(path.name) for path in directory.glob("*") if path.name.isdigit()]
    if not steps:
        raise UserError(f"{directory.parent} has no checkpoint yet; train it first.")
    options = ocp.CheckpointManagerOptions(create=False, best_fn=SCORE)
    step = max(steps)
    try:
        with ocp.CheckpointManager(directory.absolute(), options=options) as manager:
            best = manager.best_step()
            step = step if best is None else best
            metrics = manager.metrics(step)
        item = {name: like}
        # Given shapes, Orbax would cut or pad what was saved to them.
        as_saved = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
        # The optimiser's state is twice as large as the parameters, and of no use here.
        restored = ocp.PyTreeCheckpointer().restore(
            directory.absolute() / str(step) / "state",
            args=ocp.args.PyTreeRestore(item, restore_args=as_saved, partial_restore=True),
        )
        if jax.tree.map(np.shape, restored[name]) != jax.tree.map(np.shape, like):
            raise ValueError("it holds another model than config.json describes")
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{directory / str(step)} cannot be read ({reason}).") from None
    params = jax.tree.map(jnp.asarray, restored[name])
    return params, step, metrics["score"] if metrics else None
