"""Variations of a config: names after a colon, as in ``--config=configs/voices.py:mask``."""

from collections.abc import Sequence

from audioslots_jax.errors import UserError


def parse(names: str, known: Sequence[str], config: str) -> set[str]:
    """Returns the names, which commas divide.

    Raises:
      UserError: if one is not ``known``; it names the ``config``.
    """
    chosen = set(filter(None, names.split(",")))
    if unknown := chosen - set(known):
        raise UserError(
            f"configs/{config}.py has no variation {', '.join(sorted(unknown))}; "
            f"it has {', '.join(known)}."
        )
    return chosen
