"""Metrics of a run as lines of JSON."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from audioslots_jax.data.files import write_atomically


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
