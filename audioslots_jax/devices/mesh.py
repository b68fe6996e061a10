"""Where the arrays of a run live: one mesh of all devices, and one table of shardings.

A step is the same function on every mesh. The batch is divided over the devices; what differs is
the state: replicated (data parallel), or divided as well (fully sharded, FSDP). Where it is, XLA
moves what is smaller: the parameters, gathered where they are used, or the activations they meet.
"""

import functools
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"

# Smaller arrays are replicated: to gather them would cost more than to keep them.
SMALLEST = 4096


def make_mesh() -> Mesh:
    """Returns all devices of all processes in a row, those of a process beside each other."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device has a copy of."""
    return NamedSharding(mesh, PartitionSpec())


def by_row(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of batches: the rows are divided over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def of_state(kind: str, mesh: Mesh, state: Any) -> Any:
    """Returns the sharding of every array of a state, any tree of arrays or their shapes.

    ``"data"`` replicates them, ``"fsdp"`` divides them; see `divided_axis`.
    """

    def sharding(array: Any) -> NamedSharding:
        axis = divided_axis(kind, array.shape, mesh.size)
        parts = () if axis is None else (*[None] * axis, AXIS)
        return NamedSharding(mesh, PartitionSpec(*parts))

    return jax.tree.map(sharding, state)


def divided_axis(kind: str, shape: tuple[int, ...], devices: int) -> int | None:
    """Returns the axis along which an array of the state is divided; None if it is not.

    With ``"fsdp"`` that is the longest one that the number of devices divides, but for arrays of
    fewer than `SMALLEST` numbers.
    """
    axes = [i for i, size in enumerate(shape) if size % devices == 0]
    if kind == "data" or math.prod(shape) < SMALLEST or not axes:
        return None
    return max(axes, key=lambda i: shape[i])


def local_rows(mesh: Mesh, batch_size: int) -> range:
    """Returns the rows of a batch that the devices of this process hold."""
    share = batch_size // mesh.size
    own = [i for i, d in enumerate(mesh.devices.flat) if d.process_index == jax.process_index()]
    return range(own[0] * share, (own[-1] + 1) * share)


def place(rows: Any, mesh: Mesh) -> Any:
    """Returns the batch, or any tree, of which this process has these rows; see `local_rows`."""
    divide = functools.partial(jax.make_array_from_process_local_data, by_row(mesh))
    with jax.transfer_guard_host_to_device("allow"):  # this one is meant
        return jax.tree.map(divide, rows)
