"""What a run wrote about its training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

Series = Mapping[str, tuple[list[float], list[float]]]  # steps and values by name


def read(workdir: Path) -> Series:
    """Returns the metrics of a run by name; none where there is no file."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    path = workdir / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text.splitlines():
        try:
            values = json.loads(line)
            step = float(values.pop("step"))
        except (ValueError, KeyError, AttributeError):  # cut off when the run was killed
            continue
        for name, value in values.items():
            steps, numbers = series.setdefault(name, ([], []))
            steps.append(step)
            numbers.append(float(value))
    return series


def scores(each: Sequence[Series]) -> list[str]:
    """Returns the names of scores in dB of held-out crops, without those of oracles."""
    names = dict.fromkeys(name for series in each for name in series if name.endswith("si_snri"))
    return [name for name in names if "oracle" not in name]
