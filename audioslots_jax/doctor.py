"""What a config will train: sizes, work and memory, told before any training.

Everything comes from shapes: no recording is read, nothing is compiled, no parameter is made.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.module import InterceptorContext
from ml_collections import ConfigDict

from audioslots_jax.training import flops, memory
from audioslots_jax.training.config import check
from audioslots_jax.training.shapes import Shapes, shapes
from audioslots_jax.training.sharding import divided_axis

ModulePath = tuple[str, ...]

# The fields of a TrainState that hold arrays of the parameters' shapes.
STATE = {"params": "parameters", "opt_state": "Adam's moments", "average": "their moving average"}


class Row(NamedTuple):
    """A part of the model, or modules in it that belong together.

    Attributes:
      path: such as ``("encoder", "stage1")``; ``()`` is the whole model.
      parameters: how many it has.
      output: what it ends with; None for a parameter that belongs to no module of the part.
      flops: operations of the forward pass for a batch, as `flops.count` counts them.
    """

    path: ModulePath
    parameters: int
    output: jax.ShapeDtypeStruct | None
    flops: int


class Memory(NamedTuple):
    """Estimated bytes of a training run.

    Attributes:
      state: by field of the `TrainState`, in all (copies counted once) and on each device.
      accumulated: gradients that a device sums over micro-batches.
      working: `memory.peak` of a device's rows of a micro-batch, by part of the model.
    """

    state: dict[str, tuple[int, int]]
    accumulated: int
    working: dict[str, int]

    @property
    def peak(self) -> int:
        """The fullest moment of a device."""
        state = sum(each for _, each in self.state.values())
        return state + self.accumulated + sum(self.working.values())


def examine(config: ConfigDict, devices: int) -> str:
    """The doctor's report, in tables of at most 100 columns.

    Args:
      config: as returned by a file in ``configs/``; ``data.root`` may name nothing.
      devices: number of devices to train on, which need not be here.

    Raises:
      UserError: for a config that cannot be trained.
    """
    check(config, devices, reads_data=False)
    found = shapes(config)
    rows = modules(found)
    sections = (
        _tell_batch(found),
        _tell_modules(rows),
        _tell_step(flops.training_flops(config), rows[0].flops),
        _tell_memory(estimate_memory(config, found, devices), devices),
    )
    return "\n\n".join("\n".join(lines) for lines in sections)


def modules(found: Shapes) -> list[Row]:
    """The whole model, then its parts, each followed by what it is made of.

    Modules whose names are alike up to the first underscore are one row: ``stage1_block1`` to
    ``stage1_block3``, or ``layer1_self``, ``layer1_cross``, ``layer1_mlp_in`` and so on.
    """
    task, state, sources = found
    spectrograms = jax.eval_shape(task.spectrograms, sources)
    parameters: Counter[ModulePath] = Counter()
    for keys, array in jax.tree.leaves_with_path(state.params):
        _add(parameters, tuple(str(key.key) for key in keys[1:]), array.size)
    work: Counter[ModulePath] = Counter()
    for module, operations in flops.count(task.apply, state.params, spectrograms).items():
        _add(work, tuple(module.split("/")[1:]), operations)

    made = {_row(path): output for path, output in _outputs(found, spectrograms).items()}
    paths: list[ModulePath] = [()]
    for part in [path for path in made if len(path) == 1]:
        # A parameter of the part itself, such as its queries, has a row too, and no output.
        rows = [*(path for path in parameters if path not in made), *made]
        paths += [part, *(path for path in rows if len(path) == 2 and path[:1] == part)]
    return [Row(path, parameters[path], made.get(path), work[path]) for path in paths]


def estimate_memory(config: ConfigDict, found: Shapes, devices: int) -> Memory:
    """The memory that training needs, on all devices and on each.

    The state is there all the time, as `sharding.of_state` places it. A step adds what its loss and
    gradients need at their fullest moment (`memory.peak`), for a device's rows of one micro-batch.
    Gradients are whole there, though XLA divides them under ``"fsdp"``: of a model with many
    parameters and few activations this is too much. Between micro-batches their sum is kept.
    """
    task, state, sources = found
    micro_batches = config.train.micro_batches

    def whole(tree: Any) -> int:
        return sum(_bytes(array) for array in jax.tree.leaves(tree))

    def each(tree: Any) -> int:
        return sum(
            _bytes(array)
            // (1 if divided_axis(config.mesh, array.shape, devices) is None else devices)
            for array in jax.tree.leaves(tree)
        )

    fields = {name: tree for name, tree in state._asdict().items() if name in STATE}
    rows = -(-sources.shape[0] // (devices * micro_batches))
    local = jax.ShapeDtypeStruct((rows, *sources.shape[1:]), sources.dtype)
    working: Counter[str] = Counter()
    for module, size in memory.peak(jax.value_and_grad(task.loss), state.params, local).items():
        working[(module.split("/")[1:2] or ["outside the model"])[0]] += size
    return Memory(
        state={name: (whole(tree), each(tree)) for name, tree in fields.items() if whole(tree)},
        accumulated=each(state.params) if micro_batches > 1 else 0,
        working=dict(working),
    )


def _row(path: ModulePath) -> ModulePath:
    """The row of a module: its part of the model, and its name up to the first underscore."""
    return (*path[:1], *(name.split("_")[0] for name in path[1:2]))


def _add(totals: Counter[ModulePath], path: ModulePath, value: int) -> None:
    """Adds what a module has to its row, its part and the whole."""
    row = _row(path)
    for length in range(len(row) + 1):
        totals[row[:length]] += value


def _outputs(found: Shapes, spectrograms: Any) -> dict[ModulePath, jax.ShapeDtypeStruct]:
    """What each module within the model ends with, in the order in which they end."""
    outputs: dict[ModulePath, jax.ShapeDtypeStruct] = {}

    def record(call: Any, args: Any, kwargs: Any, context: InterceptorContext) -> Any:
        result = call(*args, **kwargs)
        if context.method_name == "__call__" and context.module.path:
            outputs[context.module.path] = _main_array(result)
        return result

    with nn.intercept_methods(record):
        jax.eval_shape(found.task.apply, found.state.params, spectrograms)
    return outputs


def _main_array(result: Any) -> jax.ShapeDtypeStruct:
    """Of several outputs, the first; of an encoder's stages, the last."""
    if isinstance(result, Mapping):
        result = list(result.values())[-1]
    array = result[0] if isinstance(result, tuple) else result
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _bytes(array: jax.ShapeDtypeStruct) -> int:
    return array.size * array.dtype.itemsize


def _tell_batch(found: Shapes) -> list[str]:
    task, state, sources = found
    spectrograms = jax.eval_shape(task.spectrograms, sources)
    outputs = jax.eval_shape(task.apply, state.params, spectrograms)
    size = task.size(sources.shape[-1])
    arrays = {
        "sources, waveforms": sources,
        "their spectrograms": spectrograms,
        "the model's input": jax.ShapeDtypeStruct((spectrograms.shape[0], *size), jnp.float32),
        "grid": outputs.grid,
        "slots": outputs.slots,
        "estimates": outputs.spectrograms,
    }
    rows = [
        (name, _shape(array), str(array.dtype), _binary(_bytes(array)))
        for name, array in arrays.items()
    ]
    return _aligned([("a batch", "shape", "type", "size"), *rows], left=3)


def _tell_modules(rows: Sequence[Row]) -> list[str]:
    whole = rows[0]
    lines = [("module", "output", "size", "parameters", "forward pass", "share")]
    for row in [*rows[1:], whole]:
        name = "  " * (len(row.path) - 1) + row.path[-1] if row.path else "all"
        shape, size = (_shape(row.output), _binary(_bytes(row.output))) if row.output else ("", "")
        share = f"{100 * row.flops / whole.flops:.1f} %"
        work = (_decimal(row.flops), share) if row.flops else ("", "")
        lines.append((name, shape, size, f"{row.parameters:,}", *work))
    return _aligned(lines, left=2)


def _tell_step(training: int, forward: int) -> list[str]:
    return [
        f"a training step: {_decimal(training)}, {training / forward:.1f} times the forward pass "
        "(matrix products and convolutions alone)"
    ]


def _tell_memory(found: Memory, devices: int) -> list[str]:
    title = f"memory on {devices} device{'s' if devices > 1 else ''}"
    lines = [(title, "in all", "on each")]
    for field, (whole, each) in found.state.items():
        lines.append((STATE[field], _binary(whole), _binary(each)))
    if found.accumulated:
        lines.append(("gradients summed over micro-batches", "", _binary(found.accumulated)))
    lines.append(("activations and gradients", "", _binary(sum(found.working.values()))))
    for part, size in found.working.items():
        lines.append((f"  {part}", "", _binary(size)))
    lines.append(("peak, estimated (allow a fifth more)", "", _binary(found.peak)))
    return _aligned(lines, left=1)


def _aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows as lines, with the first ``left`` columns flush left and the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _shape(array: jax.ShapeDtypeStruct) -> str:
    return " x ".join(map(str, array.shape))


def _binary(size: int) -> str:
    return _scaled(size, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def _decimal(operations: int) -> str:
    return _scaled(operations, 1000, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"))


def _scaled(value: int, base: int, units: Sequence[str]) -> str:
    """Three digits, and the unit that leaves one to four before the point."""
    exponent = 0
    while value >= base ** (exponent + 1) and exponent < len(units) - 1:
        exponent += 1
    scaled = value / base**exponent
    decimals = (scaled < 100) + (scaled < 10) if exponent else 0
    return f"{scaled:.{decimals}f} {units[exponent]}"
