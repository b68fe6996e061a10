"""Floating-point operations of a function, counted from its jaxpr without running anything.

Counted are matrix products and convolutions, two operations for each multiply-add, which is the
convention for the utilisation of a device (MFU). Elementwise work, reductions and Fourier
transforms are not. A multiply-add counts if both factors are elements of the operands: not if one
is padding, or a zero that dilation inserts (as in the gradient of a strided convolution), nor if it
only repeats what rematerialisation did not keep. So each of the two gradients of a matrix product
or a convolution has exactly as many operations as itself.
"""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn
from ml_collections import ConfigDict

from audioslots_jax.training import jaxprs
from audioslots_jax.training.shapes import shapes


def count(function: Callable[..., Any], *arguments: Any) -> dict[str, int]:
    """Operations of a function, by the path of the Flax module they belong to.

    A scan counts as often as it runs, a while loop once (how often it runs is not known), a cond as
    its largest branch, a shard_map on all of its devices.

    Args:
      function: a function of arrays; it is traced, not run.
      *arguments: trees of arrays or of `jax.ShapeDtypeStruct`.

    Returns:
      Operations by path, such as ``AudioSlots/encoder/root``, in the order of their first; the path
      is ``""`` outside of modules.
    """
    return dict(_count(jax.make_jaxpr(function)(*arguments).jaxpr, ""))


def training_flops(config: ConfigDict) -> int:
    """The useful operations of one training step: the loss of a whole batch and its gradient.

    Neither rematerialisation nor dividing the batch over devices or in time changes the number.
    """
    task, state, sources = shapes(config)
    return sum(count(jax.grad(task.loss), state.params, sources).values())


def _count(jaxpr: Jaxpr, outer: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for equation in jaxpr.eqns:
        names = jaxprs.scope(equation, outer)
        if jaxprs.recomputes(names):
            continue
        if equation.primitive.name in _OPERATIONS:
            counts[jaxprs.module(names)] += 2 * _OPERATIONS[equation.primitive.name](equation)
        bodies = [_count(body, names) for body in jaxprs.inner(equation)]
        if equation.primitive.name == "cond":
            bodies = [max(bodies, key=Counter.total)]
        times = _times(equation)
        for body in bodies:
            for path, operations in body.items():
                counts[path] += times * operations
    return counts


def _times(equation: JaxprEqn) -> int:
    """How often the jaxpr inside an equation runs, on all devices together."""
    if equation.primitive.name == "scan":
        return int(equation.params["length"])
    if equation.primitive.name == "shard_map":
        sizes = equation.params["mesh"].shape
        return math.prod(sizes[axis] for axis in equation.params["newly_manual_axes"])
    return 1


def _dot_general(equation: JaxprEqn) -> int:
    """Multiply-adds of a matrix product: one per element of the result and of what is summed."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = jaxprs.array(equation.invars[0]).shape
    return jaxprs.array(equation.outvars[0]).size * math.prod(shape[i] for i in contracted)


def _conv_general_dilated(equation: JaxprEqn) -> int:
    """Multiply-adds of a convolution.

    Along an axis, position ``o`` of the result and ``k`` of the kernel meet at position
    ``o * stride + k * kernel_dilation - padding`` of the dilated input.
    """
    params = equation.params
    dimensions = params["dimension_numbers"]
    inputs, kernel = (jaxprs.array(v).shape for v in equation.invars)
    result = jaxprs.array(equation.outvars[0]).shape
    pairs = 1
    for axis, (low, _) in enumerate(params["padding"]):
        outputs = np.arange(result[dimensions.out_spec[2 + axis]])[:, None]
        taps = np.arange(kernel[dimensions.rhs_spec[2 + axis]])[None, :]
        places = outputs * params["window_strides"][axis] + taps * params["rhs_dilation"][axis]
        steps, inserted = np.divmod(places - low, params["lhs_dilation"][axis])
        size = inputs[dimensions.lhs_spec[2 + axis]]
        pairs *= int(np.sum((inserted == 0) & (steps >= 0) & (steps < size)))
    # The kernel has the features of one group as inputs, and those of all groups as outputs.
    features = kernel[dimensions.rhs_spec[0]] * kernel[dimensions.rhs_spec[1]]
    return result[dimensions.out_spec[0]] * features * pairs


_OPERATIONS = {"dot_general": _dot_general, "conv_general_dilated": _conv_general_dilated}
