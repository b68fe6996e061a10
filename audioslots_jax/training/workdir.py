"""The folder a run lives in: which config made it, and its metrics as JSON lines."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import jax
from ml_collections import ConfigDict

from audioslots_jax.data.files import write_atomically
from audioslots_jax.errors import UserError
from audioslots_jax.training.config import differences
from audioslots_jax.training.processes import agree, together

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
    continues = together(lambda: _continues(workdir, config))
    fields = config.to_dict()
    if not agree(fields | {"data": {**fields["data"], "root": "", "eval_root": ""}}):
        raise UserError(
            "the processes of this run differ in their flags or recordings; give all the same."
        )
    together(lambda: _write(workdir, config, replaces=not continues))
    together(lambda: _find(workdir))


def _continues(workdir: Path, config: ConfigDict) -> bool:
    """Whether the folder holds a run of this config."""
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
    return continues


def _write(workdir: Path, config: ConfigDict, *, replaces: bool) -> None:
    """Writes the config, if this is the first process; removes the events of a run it replaces."""
    if jax.process_index() > 0:
        return
    path = workdir / CONFIG
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


def _find(workdir: Path) -> None:
    """Refuses a folder that this process does not see; on a network it may take its time."""
    deadline = time.monotonic() + 10
    while not (workdir / CONFIG).exists():
        if time.monotonic() > deadline:
            raise UserError(
                f"--workdir {workdir} is not one folder for all processes of this run; name one on "
                "a file system that all of them see."
            )
        time.sleep(0.1)


class MetricsFile:
    """A flat object a line, such as ``metrics.jsonl`` and, by the clock, ``speed.jsonl``.

    Lines depend on the step alone (in ``metrics.jsonl`` their values too), so a run that was
    interrupted and resumed leaves those of one that was not.
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
