"""Where a training starts: at new parameters, or at those of a model that was trained before."""

from pathlib import Path

import jax
import jax.numpy as jnp

from audioslots_jax.errors import UserError
from audioslots_jax.training.state import TrainState
from audioslots_jax.workdir import CONFIG

NAMED = 3  # arrays, in a sentence


def start_from(state: TrainState, model: str) -> TrainState:
    """Returns a state before the first step with the parameters of another model.

    They are the ones that model separates with. Parameters that it does not have, such as those of
    `models.presence`, stay as they are; the optimiser starts anew. Every array stays on the devices
    that it is on.

    Args:
      state: of a new run.
      model: a run of ``main.py``, a folder that `packaged.export` made, or the name of a model that
        comes with the package, such as ``compact``.

    Raises:
      UserError: if it cannot be read, or has an array of another shape, or none of these.
    """
    from audioslots_jax.inference import load, packaged  # and libraries for sound files

    folder = Path(model).expanduser()
    own = packaged.COMPACT.parent / model
    # A folder that only has the name of a model, such as that of a store, is none.
    given = load(own if own.is_dir() and not (folder / CONFIG).exists() else folder)
    names, arrays = packaged.flat(state.params), packaged.flat(given.params)
    shared = names.keys() & arrays.keys()
    if other := [
        name for name in names if name in shared and names[name].shape != arrays[name].shape
    ]:
        shown = ", ".join(
            f"{name} {names[name].shape}, there {arrays[name].shape}" for name in other[:NAMED]
        )
        more = f" and {len(other) - NAMED} more" * (len(other) > NAMED)
        raise UserError(
            f"train.start_from: {model} is of another size ({shown}{more}); give config.model the "
            "sizes of that model."
        )
    if not shared:
        raise UserError(
            f"train.start_from: {model} has no part in common with this model; start from another."
        )
    params = jax.tree.unflatten(
        jax.tree.structure(state.params),
        [_like(arrays[name], here) if name in shared else here for name, here in names.items()],
    )
    # A copy, since a step may reuse the memory of either.
    average = jax.tree.map(jnp.copy, params) if state.average else state.average
    new = len(names) - len(shared)
    print(
        f"starts from {model} after step {given.step}: {len(shared)} arrays of parameters"
        + f"; {new} more are new" * (new > 0)
    )
    return state._replace(params=params, average=average)


def _like(array: jax.Array, here: jax.Array) -> jax.Array:
    return jax.device_put(array.astype(here.dtype), here.sharding)
