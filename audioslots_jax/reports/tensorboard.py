"""TensorBoard events through CLU: the one part beside ``data/`` that uses TensorFlow."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from audioslots_jax.data.tensorflow_import import import_tensorflow
from audioslots_jax.reports.examples import Examples


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


def describe(events: Any, config: ConfigDict) -> None:
    """Writes the config of a run, as text and as hyperparameters that runs are compared by."""
    fields = {
        name: ", ".join(map(str, value)) if isinstance(value, tuple | list) else value
        for name, value in flatten_dict(config.to_dict(), sep=".").items()
    }
    rows = [f"| {name} | {value} |" for name, value in sorted(fields.items())]
    events.write_texts(0, {"config": "\n".join(["| field | value |", "| --- | --- |", *rows])})
    events.write_hparams(fields)


def histograms(examples: Examples) -> dict[str, np.ndarray]:
    """Returns what each slot does in examples, by name: is one of them never used?"""
    norms = np.linalg.norm(np.asarray(examples.slots), axis=-1)
    return {
        f"slots/{name}_{slot}": values[:, slot - 1]
        for name, values in (("norm", norms), ("usage", np.asarray(examples.usage)))
        for slot in range(1, values.shape[1] + 1)
    }
