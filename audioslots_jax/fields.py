"""Fields of a config: every part owns its fields, their defaults and their checks.

A part (an encoder, an objective, an optimiser, a data set, ...) is a dataclass; Flax modules are
dataclasses too. Its fields are those of its section of the config, with their defaults. A method
``problems()``, if it has one, yields ``(field, expectation)`` for every value that cannot be. So a
new part is one file, and one line in the registry that gives it a name.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args, get_origin

from ml_collections import ConfigDict

from audioslots_jax.errors import UserError

# A section of a config, which may have been read from JSON.
Section: TypeAlias = Mapping[str, Any] | ConfigDict

FLAX = frozenset({"parent", "name"})  # fields of every Flax module


def make(
    kinds: Mapping[str, Callable[..., Any]],
    config: Section,
    where: str,
    *,
    key: str = "name",
    **given: Any,
) -> Any:
    """Returns the part that a section of a config describes, checked.

    The section holds a name of ``kinds`` under ``key``, and fields; those left out take their
    defaults. ``where`` is what messages call it, such as ``model.encoder``. Fields that do not come
    from the config are ``given``; parts that have no such field do without.

    Raises:
      UserError: one sentence that names the first field that does not exist or cannot have its
        value.
    """
    kind = kinds[choose(kinds, config, where, key=key)]
    return make_section(kind, {k: v for k, v in config.items() if k != key}, where, **given)


def choose(kinds: Mapping[str, Any], config: Section, where: str, *, key: str = "name") -> str:
    """Returns the name that a section gives under ``key``, if it is one of ``kinds``."""
    name = config.get(key)
    require(name in kinds, f"{where}.{key}", name, f"must be one of {', '.join(kinds)}")
    return str(name)


def make_section(kind: Callable[..., Any], config: Section, where: str, **given: Any) -> Any:
    """Returns an instance of a dataclass with the fields of a section, checked; see `make`."""
    types = {
        field.name: field.type
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if field.init and field.name not in FLAX
    }
    given = {name: value for name, value in given.items() if name in types}
    own = sorted(types.keys() - given.keys())
    values = {}
    for name, value in config.items():
        path = f"{where}.{name}" if where else name
        if name not in own:
            there = f"there are {', '.join(own)}" if own else f"{where} has none"
            raise UserError(f"config.{path} is no field; {there}.")
        expectation = mismatch(value, types[name])
        require(not expectation, path, value, expectation)
        values[name] = tuple(value) if isinstance(value, list) else value
    part = kind(**values, **given)
    for name, expectation in getattr(part, "problems", tuple)():
        require(False, f"{where}.{name}" if where else name, getattr(part, name), expectation)
    return part


def defaults(kind: Callable[..., Any], without: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the fields of a dataclass that have defaults, and these."""
    return {
        field.name: field.default
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if field.init
        and field.name not in FLAX | set(without)
        and field.default is not dataclasses.MISSING
    }


def mismatch(value: Any, annotation: Any) -> str:
    """Returns what a value of a field must be, if it is not; else an empty text."""
    if get_origin(annotation) is Literal:
        options = get_args(annotation)
        return "" if value in options else f"must be one of {', '.join(map(str, options))}"
    if get_origin(annotation) is not None:  # Sequence[int] or Sequence[str]
        each = get_args(annotation)[0]
        sequence = isinstance(value, list | tuple)
        fits = sequence and len(value) > 0 and not any(mismatch(item, each) for item in value)
        return "" if fits else f"must hold {'whole numbers' if each is int else 'names'}"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return "" if number and isinstance(value, int) else "must be a whole number"
    if annotation is float:
        return "" if number and math.isfinite(value) else "must be a finite number"
    if annotation is bool:
        return "" if isinstance(value, bool) else "must be True or False"
    if annotation is str:
        return "" if isinstance(value, str) else "must be text"
    return ""


def require(holds: object, where: str, value: object, expectation: str) -> None:
    """Raises a `UserError` about a field that cannot have its value."""
    if not holds:
        raise UserError(f"config.{where} is {value!r}; it {expectation}.")


def positive(part: Any, *names: str) -> list[tuple[str, str]]:
    """Returns the problems of numbers that must be above 0."""
    return [
        (name, "must be at least 1" if isinstance(getattr(part, name), int) else "must be above 0")
        for name in names
        if not getattr(part, name) > 0
    ]
