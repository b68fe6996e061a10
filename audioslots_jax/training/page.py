"""The page that a run leaves in its folder."""

import sys
from pathlib import Path

import jax
from ml_collections import ConfigDict

from audioslots_jax.errors import UserError


def leave_page(workdir: Path, config: ConfigDict) -> None:
    """Writes the page of a run, or says why there is none: the run is done anyway.

    Several processes leave it to `audioslots lens`, as one alone cannot read their checkpoints.

    Args:
      workdir: of a finished run.
      config: the whole one that the run was started with; without examples there is no page.
    """
    if jax.process_count() > 1 or not config.eval.examples:
        return
    path = workdir / "lens.html"
    try:
        from audioslots_jax import lens

        lens.write(path, lens.run_page(workdir, config.data))
    # Whatever a library makes of it: the run is saved, and its exit code is that of the training.
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        reason = reason.strip().partition("\n")[0].rstrip(".")
        command = f"audioslots lens {workdir} --output=page.html"
        print(f"no page: {reason}; `{command}` makes one", file=sys.stderr)
    else:
        print(f"{path} lets you hear and see what the slots do")
