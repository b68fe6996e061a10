"""Command lines with a config: ``--config=FILE[:VARIATIONS]`` and ``--config.FIELD=VALUE``.

absl and ml_collections read them; what is wrong with them becomes a sentence here.
"""

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from audioslots_jax.errors import UserError

UNLOADABLE = "--config: the file does not load: {}: {}"


def parse(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Parses a command line, the program first, for flags that include ``--config``.

    Returns:
      The program and the arguments that are no flags.

    Raises:
      UserError: for a flag that does not exist or cannot have its value, and for a config that does
        not load or lacks the field.
    """
    try:
        rest: list[str] = values(argv)
        config: Any = values["config"].value
        if not isinstance(config, ConfigDict):
            config.seed  # noqa: B018 (the placeholder of a config that did not load raises)
        return rest
    except UserError:
        raise
    except (AttributeError, KeyError) as error:
        raise UserError(_misspelt(argv, error)) from None
    except flags.Error as error:
        # Of an exception in the config's file ml_collections gives the whole traceback.
        raise UserError(str(error).strip().splitlines()[-1]) from None
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(UNLOADABLE.format(type(error).__name__, reason)) from None


def load_config(file: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Returns the config that ``main.py`` would use, from any directory.

    Args:
      file: path of a Python file with a ``get_config``, and maybe ``:`` and what it is given.
      overrides: flags such as ``--config.train.steps=500``.

    Raises:
      UserError: as `parse` does, and for other arguments.
    """
    argv = ["audioslots", f"--config={file}", *overrides]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    with _importing_from(Path(file).absolute().parent.parent):
        rest = parse(values, argv)
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; flags start with --.")
    config: ConfigDict = values["config"].value
    return config


@contextlib.contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Lets a config build on its neighbours, as ``from configs import voices``."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _misspelt(argv: Sequence[str], error: Exception) -> str:
    """Returns the sentence for a flag that names no field of the config."""
    # ml_collections says: 'stpes'\nDid you mean "steps" instead of "stpes"?
    key = re.match(r"\W*(?:\\n)?(\w+)", str(error))
    flag = next((arg for arg in argv if key and key[1] in re.split(r"[.=]", arg)), None)
    if not key or not flag:
        return UNLOADABLE.format(type(error).__name__, error)
    meant = re.search(r'Did you mean "(\w+)"', str(error))
    hint = f"did you mean {meant[1]!r}?" if meant else "the file in configs/ lists its fields."
    return f"{flag}: the config has no field {key[1]!r}; {hint}"
