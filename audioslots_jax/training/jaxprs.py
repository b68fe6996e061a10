"""Reads jaxprs: the Flax module each operation belongs to, and the jaxprs inside of others."""

import re
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var, jaxprs_in_params

_RECOMPUTED = "rematted_computation"


def inner(equation: JaxprEqn) -> list[Jaxpr]:
    """The jaxprs an equation runs: the body of a jit, remat or scan, the branches of a cond."""
    return list(jaxprs_in_params(equation.params))


def array(variable: Var | Literal) -> jax.ShapeDtypeStruct:
    """Shape and type of a variable that is an array."""
    aval: Any = variable.aval
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def scope(equation: JaxprEqn, outer: str = "") -> str:
    """The names an equation was traced under; those in an inner jaxpr start at its caller's."""
    return f"{outer}/{equation.source_info.name_stack}"


def recomputes(names: str) -> bool:
    """Whether a scope computes again, in the backward pass, what `jax.checkpoint` did not keep."""
    return _RECOMPUTED in names.split("/")


def module(names: str) -> str:
    """The path of the Flax module in a scope, ``""`` outside of modules.

    Flax names a scope after the class of the outermost module and then by the names of the modules
    within, so forward operations are in ``AudioSlots/encoder/root`` or, under differentiation,
    ``jvp(AudioSlots)/encoder/root``, and backward ones in ``transpose(jvp(AudioSlots))/...``. All
    of them give ``AudioSlots/encoder/root``; scopes of methods (``AudioSlots.decode``) and einsums
    (``bqhd,bkhd->bhqk``) are left out.
    """
    path: list[str] = []
    for name in _names(names):
        # The backward pass of a remat starts again at the outermost module.
        path = [name] if path and name == path[0] else [*path, name]
    return "/".join(path)


def _names(names: str) -> Iterator[str]:
    for name in re.sub(r"\w+\(|\)", "", names).split("/"):
        if name.isidentifier() and name != _RECOMPUTED:
            yield name
