"""`main.py` as a process."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def command(workdir, *flags, config="tests/tiny.py"):
    """The arguments of a process that trains."""
    return [sys.executable, "main.py", f"--config={config}", f"--workdir={workdir}", *flags]


def run(environment, workdir, *flags, **options):
    """A process that trained, and what it said."""
    return subprocess.run(
        command(workdir, *flags, **options), cwd=ROOT, env=environment, text=True,
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip
