"""Where a training starts: at new parameters, or at those of a model that was trained before."""

import jax
import jax.numpy as jnp

from audioslots_jax.errors import UserError
from audioslots_jax.training.state import TrainState

NAMED = 3  # arrays, in a sentence
QUERIES = "/slot_module/queries"  # a row for each slot


def start_from(state: TrainState, model: str) -> TrainState:
    """Returns a state before the first step with the parameters of another model.

    They are the ones that model separates with. Parameters that it does not have, such as those of
    `models.presence`, stay as they are; the optimiser starts anew. A model of another number of
    slots gives the queries of as many slots as both have. Every array stays on the devices that it
    is on.

    Args:
      state: of a new run.
      model: a run of ``main.py``, a folder that `packaged.export` made, or the name of a model that
        comes with the package, ``compact`` or ``count``.

    Raises:
      UserError: if it cannot be read, or has an array of another shape, or none of these.
    """
    from audioslots_jax.inference import load, packaged  # and libraries for sound files

    given = load(model)
    names, arrays = packaged.flat(state.params), packaged.flat(given.params)
    shared = names.keys() & arrays.keys()
    for name in shared:
        if name.endswith(QUERIES) and len(arrays[name]) != len(names[name]):
            arrays[name] = _rows(arrays[name], names[name])
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


def _rows(array: jax.Array, here: jax.Array) -> jax.Array:
    """Returns ``here`` with the first rows of ``array``, if only their numbers differ."""
    if array.shape[1:] != here.shape[1:]:
        return array
    return jnp.concatenate([array[: len(here)], here[len(array) :].astype(array.dtype)])


def _like(array: jax.Array, here: jax.Array) -> jax.Array:
    return jax.device_put(array.astype(here.dtype), here.sharding)
