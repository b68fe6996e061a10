"""The folder a run lives in: which config made it, and its metrics as JSON lines."""

import json
import os
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from audioslots_jax.data.files import write_atomically
from audioslots_jax.errors import UserError
from audioslots_jax.training.config import differences

CONFIG, CHECKPOINTS = "config.json", "checkpoints"


def claim(workdir: Path, config: ConfigDict, fingerprint: str) -> None:
    """Makes the folder for a run of ``config``, or checks that it holds one to continue.

    A run that stopped before its first checkpoint has nothing to continue and is replaced. Of
    several processes all check, and then the first one writes.

    Args:
      workdir: the folder; ``config.json`` in it is the resolved config with the fingerprint.
      config: the config of the run.
      fingerprint: of the recordings that the run draws from.

    Raises:
      UserError: if another, incompatible config made it, it cannot be written, or other processes
        of this run were given another config or do not see the folder.
    """
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.data.fingerprint = fingerprint
    path = workdir / CONFIG
    continues = any(found.name.isdigit() for found in (workdir / CHECKPOINTS).glob("*"))
    if path.exists() and continues:
        try:
            made_by = ConfigDict(json.loads(path.read_text()))
        except (OSError, ValueError):
            raise UserError(f"{path} cannot be read; choose another --workdir.") from None
        differing = differences(made_by, config)
        if differing:
            raise UserError(
                f"{workdir} was made by another config, which differs in {', '.join(differing)}; "
                "choose another --workdir, or start with the same values to continue that run."
            )
    if jax.process_count() == 1:
        _write(path, config, replaces=not continues)
        return
    _agree(config)
    error: UserError | None = None
    if jax.process_index() == 0:
        try:
            _write(path, config, replaces=not continues)
        except UserError as raised:
            error = raised
    if not np.all(multihost_utils.process_allgather(np.bool_(_appears(path)))):
        raise error or UserError(
            f"--workdir {workdir} is not one folder for all processes of this run; name one on a "
            "file system that all of them see."
        )


def _write(path: Path, config: ConfigDict, *, replaces: bool) -> None:
    """Writes the config; removes the events of a run that left nothing else."""
    workdir = path.parent
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists() and replaces:
            for events in workdir.glob("events.out.tfevents.*"):
                events.unlink()
        text = json.dumps(config.to_dict(), indent=2)
        write_atomically(path, f"{text}\n".encode())
    except OSError as error:
        raise UserError(
            f"--workdir {workdir} cannot be written ({error.strerror}); choose another folder."
        ) from None


def _appears(path: Path) -> bool:
    """Whether a file is there, or comes soon: others' files may take their time on a network."""
    deadline = time.monotonic() + 10
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return path.exists()


def _agree(config: ConfigDict) -> None:
    """Returns when all processes are here, with the same config but for where recordings lie."""
    fields = config.to_dict()
    fields["data"] = {**fields["data"], "root": "", "eval_root": ""}
    digest = np.uint32(zlib.crc32(json.dumps(fields, sort_keys=True).encode()))
    if len(set(multihost_utils.process_allgather(digest).tolist())) > 1:
        raise UserError("the processes of this run differ in their flags; give all the same.")


class MetricsFile:
    """``metrics.jsonl``: a flat object a line, holding nothing that depends on the clock.

    A run that was interrupted and resumed therefore leaves the same bytes as one that was not.
    """

    def __init__(self, path: Path, resumed_at: int):
        """Keeps the lines up to step ``resumed_at``; later ones will be written again."""
        kept: list[str] = []
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    step = json.loads(line)["step"]
                except ValueError:  # cut off when the run was killed
                    continue
                if step <= resumed_at:
                    kept.append(line + "\n")
        write_atomically(path, "".join(kept).encode())
        self._file = open(path, "a")  # noqa: SIM115 (open as long as the run)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends a line."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Returns when all lines are on disk; a checkpoint must not outlive them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
