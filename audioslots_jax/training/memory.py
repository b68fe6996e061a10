"""Memory that a function needs while it runs, estimated from its jaxpr without compiling it."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from audioslots_jax.training import jaxprs

# Calls whose body is as good as written in their place.
_CALLS = {"jit", "remat2", "custom_jvp_call", "custom_vjp_call", "closed_call"}
# The same bytes under another shape.
_VIEWS = {"reshape", "squeeze", "expand_dims", "transpose", "stop_gradient", "copy"}
# What XLA runs as a kernel of its own, which reads and writes memory.
_KERNELS = {"dot_general", "conv_general_dilated", "fft", "sort", "gather", "pure_callback"}
_KERNELS |= {"scatter", "scatter-add", "scan", "while", "cond", "shard_map"}
_REDUCTIONS = ("reduce_", "arg", "cum")


def peak(function: Callable[..., Any], *arguments: Any) -> dict[str, int]:
    """Bytes alive at the fullest moment of a function, by the Flax module they come from.

    Of the gradient of a loss, that is what autodiff keeps between the forward and the backward pass
    and the gradients that are done, at the moment when both and what is being worked on are most.
    The rules:

    * Operations run in the jaxpr's order, and a value is stored until its last reader has run.
    * What matrix products, convolutions, Fourier transforms, gathers and loops read and write is
      stored; so are the results of reductions and of the function.
    * Everything else is elementwise or moves data, and XLA fuses it into what reads it: nothing is
      stored, but what it is computed from stays for as long as it is read. So ``x`` and its mean
      are kept for the backward pass, and no ``x - mean``; the argument of a ReLU, and no mask.
    * What is rematerialised is stored anew when the backward pass comes to it.

    XLA has a schedule of its own, makes copies in other layouts, leaves gaps between buffers and
    gives its kernels workspaces. Of whole training steps in float32, state included, its CPU
    compiler allocated 1.15 to 1.20 times as much as estimated (configs/voices.py, and
    configs/paper.py with 1, 2, 8 and 64 rows to a batch).

    Args:
      function: a function of arrays; it is traced, not run.
      *arguments: trees of arrays or of `jax.ShapeDtypeStruct`; they are not counted.

    Returns:
      Bytes by path, as in `flops.count`.
    """
    return dict(_peak(jax.make_jaxpr(function)(*arguments).jaxpr, ""))


@dataclasses.dataclass(eq=False)
class _Value:
    """A value; without bytes if it takes no memory of its own.

    Attributes:
      bytes: its size.
      module: the Flax module that makes it.
      born: the operation that makes it.
      last: the last operation that reads it.
      stored: whether it is in memory, rather than fused into what reads it.
      origins: the stored values it is computed from; itself, if it is stored.
    """

    bytes: int = 0
    module: str = ""
    born: int = 0
    last: int = 0
    stored: bool = False
    origins: frozenset["_Value"] = frozenset()


@dataclasses.dataclass
class _Operation:
    """A step of the flattened jaxpr.

    Attributes:
      reads: its operands.
      writes: its results.
      kernel: whether its operands must be in memory.
      within: what its body, if it has one, needs at its own fullest moment.
    """

    reads: list[_Value]
    writes: list[_Value]
    kernel: bool
    within: Counter[str] = dataclasses.field(default_factory=Counter)


def _peak(jaxpr: Jaxpr, outer: str) -> Counter[str]:
    operations: list[_Operation] = []
    arguments = [_Value() for _ in jaxpr.invars]
    results = _flatten(jaxpr, outer, arguments, operations)
    operations.append(_Operation(results, writes=[], kernel=True))
    _store(operations)

    stored = [value for operation in operations for value in operation.writes if value.stored]
    changes = np.zeros(len(operations) + 1, np.int64)
    for value in stored:
        changes[value.born] += value.bytes
        changes[value.last + 1] -= value.bytes
    within = [operation.within.total() for operation in operations]
    fullest = int(np.argmax(np.cumsum(changes)[:-1] + within))

    alive = Counter(operations[fullest].within)
    for value in stored:
        if value.born <= fullest <= value.last:
            alive[value.module] += value.bytes
    return alive


def _flatten(
    jaxpr: Jaxpr, outer: str, arguments: list[_Value], operations: list[_Operation]
) -> list[_Value]:
    """Appends the operations of a jaxpr and of the calls in it; returns its results."""
    values: dict[Var, _Value] = dict(zip(jaxpr.invars, arguments, strict=True))

    def read(variables: Iterable[Var | Literal]) -> list[_Value]:
        # Constants are like arguments: they take no memory here.
        return [_Value() if isinstance(v, Literal) else values.get(v, _Value()) for v in variables]

    for equation in jaxpr.eqns:
        name, names = equation.primitive.name, jaxprs.scope(equation, outer)
        reads, bodies = read(equation.invars), jaxprs.inner(equation)
        if name in _CALLS:
            writes = _flatten(bodies[0], names, reads, operations)
        elif _is_view(equation):
            writes = reads[:1]
        else:
            kernel = name in _KERNELS
            stored = kernel or name.startswith(_REDUCTIONS)
            module, born = jaxprs.module(names), len(operations)
            writes = [_Value(_bytes(v), module, born, born, stored) for v in equation.outvars]
            # Of a cond only one branch runs; a loop has one body that matters.
            within = max((_peak(body, names) for body in bodies), key=Counter.total, default=None)
            operations.append(_Operation(reads, writes, kernel, within or Counter()))
        values.update(zip(equation.outvars, writes, strict=True))
    return read(jaxpr.outvars)


def _store(operations: list[_Operation]) -> None:
    """Finds out what is stored, and until when."""
    for operation in operations:
        if operation.kernel:
            for value in operation.reads:
                value.stored = True
    nothing: frozenset[_Value] = frozenset()
    for place, operation in enumerate(operations):
        origins = nothing.union(*(value.origins for value in operation.reads))
        for value in operation.writes:
            value.origins = frozenset([value]) if value.stored else origins
        if operation.kernel or any(value.stored for value in operation.writes):
            for value in origins:
                value.last = place


def _is_view(equation: JaxprEqn) -> bool:
    """Whether an operation gives the bytes it reads another shape."""
    if equation.primitive.name == "broadcast_in_dim":
        return jaxprs.array(equation.invars[0]).size == jaxprs.array(equation.outvars[0]).size
    return equation.primitive.name in _VIEWS


def _bytes(variable: Var) -> int:
    array = jaxprs.array(variable)
    return array.size * array.dtype.itemsize
