"""The folder a run lives in: claimed by one config and one division of the data."""

import json
import time
from pathlib import Path

import jax
from ml_collections import ConfigDict

from audioslots_jax.data.files import write_atomically
from audioslots_jax.devices.processes import agree, together
from audioslots_jax.errors import UserError
from audioslots_jax.training.settings import complete
from audioslots_jax.workdir import (
    CHECKPOINTS,
    CONFIG,
    DATA,
    DataRecord,
    differences,
    read_config,
    read_data,
)


def has_checkpoint(workdir: Path) -> bool:
    """Returns whether a run has something to continue."""
    return any(path.name.isdigit() for path in (workdir / CHECKPOINTS).glob("*"))


def remembered(workdir: Path) -> DataRecord:
    """Returns what a run that will be continued remembers of its data; else nothing."""
    return read_data(workdir) if has_checkpoint(workdir) else DataRecord()


def claim(workdir: Path, config: ConfigDict, data: DataRecord) -> None:
    """Makes the folder for a run of ``config``, or checks that it holds one to continue.

    A run that stopped before its first checkpoint has nothing to continue and is replaced. Of
    several processes all check, and then the first one writes.

    Its ``config.json`` is the complete config, resolved, with the fingerprint of the data.

    Raises:
      UserError: if another, incompatible config made it, it cannot be written, or other processes
        of this run were given another config or do not see the folder.
    """
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.data.fingerprint = data.fingerprint
    continues = together(lambda: _continues(workdir, config))
    fields = config.to_dict()
    nowhere = dict.fromkeys(("root", "eval_root", "noise_root"), "")
    if not agree(fields | {"data": fields["data"] | nowhere}):
        raise UserError(
            "the processes of this run differ in their flags or recordings; give all the same."
        )
    together(lambda: _write(workdir, config, data, replaces=not continues))
    together(lambda: _wait_for(workdir))


def _continues(workdir: Path, config: ConfigDict) -> bool:
    """Returns whether the folder holds a run of this config."""
    path, continues = workdir / CONFIG, has_checkpoint(workdir)
    if path.exists() and continues:
        before = complete(ConfigDict(read_config(workdir)))
        if differing := differences(before.to_dict(), config.to_dict()):
            raise UserError(
                f"{workdir} was made by another config, which differs in {', '.join(differing)}; "
                "choose another --workdir, or start with the same values to continue that run."
            )
    return continues


def _write(workdir: Path, config: ConfigDict, data: DataRecord, *, replaces: bool) -> None:
    """Writes the records, if this is the first process; removes the events of a run it replaces."""
    if jax.process_index() > 0:
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if (workdir / CONFIG).exists() and replaces:
            for events in workdir.glob("events.out.tfevents.*"):
                events.unlink()
        for name, content in ((DATA, data._asdict()), (CONFIG, config.to_dict())):
            write_atomically(workdir / name, f"{json.dumps(content, indent=2)}\n".encode())
    except OSError as error:
        raise UserError(
            f"--workdir {workdir} cannot be written ({error.strerror}); choose another folder."
        ) from None


def _wait_for(workdir: Path) -> None:
    """Refuses a folder that this process does not see; on a network it may take its time."""
    deadline = time.monotonic() + 10
    while not (workdir / CONFIG).exists():
        if time.monotonic() > deadline:
            raise UserError(
                f"--workdir {workdir} is not one folder for all processes of this run; name one on "
                "a file system that all of them see."
            )
        time.sleep(0.1)
