"""One page that can be opened, sent and listened to, about a run or a separated recording."""

from collections.abc import Sequence
from pathlib import Path

from audioslots_jax.data.files import write_atomically
from audioslots_jax.errors import UserError
from audioslots_jax.inference import packaged
from audioslots_jax.inference.recordings import load
from audioslots_jax.lens import history, sections
from audioslots_jax.lens.recordings import Model, new_trace, recordings_page, separated_page
from audioslots_jax.lens.runs import comparison_page, open_runs, run_page
from audioslots_jax.workdir import CONFIG

__all__ = ["new_trace", "page", "run_page", "separated_page", "write"]


def page(paths: Sequence[Path]) -> bytes:
    """Returns the page of runs, which are folders, and of recordings, which are files.

    Several runs are compared. Recordings are taken apart by every run, or by the package's model
    that counts where there is none.

    Raises:
      UserError: if one of them is neither, or cannot be used.
    """
    runs = [path for path in paths if path.is_dir()]
    recordings = [path for path in paths if not path.is_dir()]
    for run in runs:
        if not (run / CONFIG).exists():
            raise UserError(f"{run} is no run of main.py: it has no {CONFIG}; name another folder.")
    own = [run.name for run in runs if run.parent == packaged.WEIGHTS]
    if own and not recordings:
        raise UserError(f"{own[0]} is a model of the package; name a recording for it, too.")
    if not recordings:
        return run_page(runs[0]) if len(runs) == 1 else comparison_page(runs)
    if not runs:
        return recordings_page([Model("", load(packaged.COUNT))], recordings)
    opened = open_runs(runs)
    models = [Model(run.name if len(opened) > 1 else "", run.separator) for run in opened]
    curves = sections.training({run.name: history.read(run.workdir) for run in opened})
    return recordings_page(models, recordings, [curves] if curves else [])


def write(path: Path, content: bytes) -> None:
    """Writes a page.

    Raises:
      UserError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}).") from None
