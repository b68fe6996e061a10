"""What a config will train, before any training: shapes, parameters, operations and memory.

No recording is read. Shapes and parameters are traced; operations are counted by XLA in the step as
it is written; memory is what XLA's compiler plans for the step on the devices that are here.
"""

import functools
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict

from audioslots_jax.data.batch import Batch
from audioslots_jax.devices import mesh as meshes
from audioslots_jax.errors import UserError
from audioslots_jax.models import PARTS
from audioslots_jax.objectives import with_other_partners
from audioslots_jax.training import optimizers
from audioslots_jax.training.flops import shapes, training_flops
from audioslots_jax.training.settings import check, complete
from audioslots_jax.training.step import Task, make_task, train_step

CPU = ", which computes bfloat16 in float32; an accelerator plans in its own way"
# Lines of the tables.
ARRAY = "{:<18}{:<34}{:<12}{:>12}".format
AMOUNT = "{:<38}{:>16}".format


def examine(config: ConfigDict, devices: int) -> str:
    """Returns the doctor's report on a config from ``configs/``, whose data need not be there.

    Raises:
      UserError: for a config that cannot be trained, or if there are fewer devices.
    """
    config = complete(config)
    check(config, devices)
    platform = jax.default_backend()
    if devices > jax.device_count():
        raise UserError(
            f"there are {jax.device_count()} {platform} devices, not {devices}; set "
            "JAX_PLATFORMS=cpu to plan for devices that are not here."
        )
    task = make_task(config)
    state, batch = shapes(config, task)
    lines = [ARRAY("array", "shape", "type", "MiB")]
    for name, array in arrays(task, state.params, batch).items():
        shape = " x ".join(map(str, array.shape))
        size = mebibytes(array.size * array.dtype.itemsize)
        lines.append(ARRAY(name, shape, str(array.dtype), size))
    lines += ["", AMOUNT("part", "parameters")]
    lines += [AMOUNT(name, f"{count:,}") for name, count in parameters(state.params)]
    if flops := training_flops(config):
        lines += ["", f"a step: {flops / 1e9:,.2f} GFLOP (all operations of loss and gradient)"]
    print(f"compiling a step for {devices} {platform} device(s) ...", file=sys.stderr)
    sizes = memory(config, devices)
    lines += ["", AMOUNT("memory of a step on each device", "MiB")]
    lines += [AMOUNT(name, mebibytes(size)) for name, size in sizes.items()]
    lines += [AMOUNT("all", mebibytes(sum(sizes.values())))]
    return "\n".join([*lines, f"(XLA's plan for {platform}{CPU * (platform == 'cpu')})"])


def arrays(task: Task, params: Any, batch: Batch) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns shapes and types of what is made of a batch, from first to last."""

    def separate(params: Any, batch: Batch) -> Any:
        if task.objectives.that_need("partners").parts:
            batch = with_other_partners(batch)
        mixture: Any = (batch.alone() if task.autoencoder else batch).mixture
        return mixture, task.separator(params, mixture, key=jax.random.key(0))

    mixture, estimates = jax.eval_shape(separate, params, batch)
    return {
        "sources": batch.sources,
        "mixture": mixture,
        "its spectrogram": jax.eval_shape(task.separator.front_end.spectrogram, mixture),
        **estimates.named,
        "slots": estimates.slots,
        "magnitudes": estimates.magnitudes,
        "masks": estimates.masks,
        "estimates": estimates.waveforms,
    }


def parameters(params: Any) -> Iterator[tuple[str, int]]:
    """Yields the number of parameters of every part, of the modules in it, and of the model.

    Modules whose names are alike up to the first underscore are one: ``stage1_block1`` and
    ``stage1_block2``, or ``layer1_self`` and ``layer1_cross``.
    """
    for part in (*PARTS, *sorted(params["params"].keys() - PARTS.keys())):
        sizes: Counter[str] = Counter()
        for name, module in params["params"].get(part, {}).items():
            sizes[name.split("_")[0]] += sum(array.size for array in jax.tree.leaves(module))
        yield part, sizes.total()
        yield from ((f"  {name}", size) for name, size in sizes.items())
    yield "all", sum(array.size for array in jax.tree.leaves(params))


def memory(config: ConfigDict, devices: int) -> dict[str, int]:
    """Returns the bytes that a step of a complete config takes on each device, by what for."""
    row = np.asarray(jax.devices()[:devices])
    mesh = Mesh(row, (meshes.AXIS,), axis_types=(AxisType.Auto,))
    task = make_task(config, mesh)
    state, batch = shapes(config, task)
    of_state = meshes.of_state(config.mesh, mesh, state)
    step = functools.partial(
        train_step, task, optimizers.build(config), seed=config.seed,
        micro_batches=config.train.micro_batches, ema_decay=config.train.ema_decay,
    )  # fmt: skip
    jitted = jax.jit(
        step,
        in_shardings=(of_state, meshes.by_row(mesh)),
        out_shardings=(of_state, meshes.replicated(mesh)),
        donate_argnums=0,
    )
    plan: Any = jitted.lower(state, batch).compile().memory_analysis()
    return {
        "arguments: state and batch": plan.argument_size_in_bytes,
        "outputs beside the state": plan.output_size_in_bytes - plan.alias_size_in_bytes,
        "temporaries: activations, gradients": plan.temp_size_in_bytes,
    }


def mebibytes(size: int) -> str:
    """Returns a number of bytes in MiB."""
    return f"{size / 2**20:,.3f}"
