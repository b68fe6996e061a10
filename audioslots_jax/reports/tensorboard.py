"""TensorBoard events through CLU: the one part beside ``data/`` that uses TensorFlow."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from audioslots_jax.data.tensorflow_import import import_tensorflow


class Nothing:
    """In place of a writer or a report where there is none: takes all calls, and does nothing."""

    def __enter__(self) -> "Nothing":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **named: None


def open_events(workdir: Path) -> Any:
    """Returns CLU's writer of events in ``workdir``.

    Where it cannot be had, prints a line that says so, and returns one that writes nothing.
    """
    missing = [name for name in ("tensorflow", "clu") if importlib.util.find_spec(name) is None]
    if missing:
        without = " and ".join(missing)
        print(f"without {without} no TensorBoard events; metrics.jsonl has the numbers.")
        return Nothing()
    import_tensorflow()
    from clu import metric_writers

    return metric_writers.SummaryWriter(str(workdir))
