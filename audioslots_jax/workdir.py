"""What the folder of a run holds, and how to read it: enough to separate with, nothing to train."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from audioslots_jax.data.batch import HeldOut
from audioslots_jax.errors import UserError

CONFIG, DATA, CHECKPOINTS = "config.json", "data.json", "checkpoints"

# Fields of a config's data that say where it lies on this machine.
ROOTS = ("root", "eval_root", "noise_root")
# Fields that change neither the examples nor the parameters of a run, so it may resume with others.
# Recordings may move as long as their fingerprint stays.
FREE_FIELDS = frozenset(
    {
        *(f"data.{name}" for name in ROOTS),
        "data.workers",
        "mesh",
        "profile",
        "train.micro_batches",
        "train.remat_decoder",
        "train.keep_checkpoints",
        "train.checkpoint_every",
        "eval.examples",
        "eval.chunk_seconds",
        "eval.overlap",
    }
)


class DataRecord(NamedTuple):
    """What a run remembers of its data; empty of runs that are older than this file.

    Attributes:
      fingerprint: of the recordings.
      level: RMS of the mixtures it was trained on; see `data.level`.
      held_out: who is not trained on, by ``"validation"`` and ``"test"``, and which noise.
    """

    fingerprint: str = ""
    level: float = 0.0
    held_out: HeldOut | None = None


def read_config(workdir: Path) -> dict[str, Any]:
    """Returns the config of a run.

    Raises:
      UserError: if the folder is no run.
    """
    try:
        config = json.loads((workdir / CONFIG).read_text())
        if not isinstance(config, dict):
            raise ValueError("it holds no config")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"{workdir} is no run of main.py: its {CONFIG} cannot be read ({reason})."
        ) from None
    return config


def read_data(workdir: Path) -> DataRecord:
    """Returns what a run remembers of its data.

    Raises:
      UserError: if the file is damaged.
    """
    path = workdir / DATA
    try:
        return DataRecord(**json.loads(path.read_text()))
    except FileNotFoundError:
        return DataRecord()
    except (OSError, ValueError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise UserError(f"{path} cannot be read ({reason}); restore the run's folder.") from None


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns the fields that keep two configs from one workdir, each ``name (old -> new)``."""
    before, after = dict(_flat(old)), dict(_flat(new))
    missing = "absent"
    free = FREE_FIELDS
    if after.get("train.sequence", 1) != 1:  # the chunks that are trained on overlap by it
        free = free - {"eval.overlap"}
    # Micro-batches are rows that are computed together: pairs, or draws with one key.
    draws = after.get("model.slot_module.start") == "random"
    if after.get("train.with_sources", 1) != 1 or draws:
        free = free - {"train.micro_batches"}
    return [
        f"{name} ({before.get(name, missing)} -> {after.get(name, missing)})"
        for name in sorted(before.keys() | after.keys())
        if before.get(name, missing) != after.get(name, missing) and name not in free
    ]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            # A config read back from JSON has lists where the original has tuples.
            yield prefix + key, list(value) if isinstance(value, tuple) else value
