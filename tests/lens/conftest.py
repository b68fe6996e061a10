"""One run for all tests of pages, of voices whose names are not kind."""

import numpy as np
import pytest

from audioslots_jax.data import data_sets
from audioslots_jax.reports.metrics_file import MetricsFile
from audioslots_jax.workdir import DataRecord
from tests.data.files import write
from tests.lens.browser import MISSING, Browser, executable
from tests.runs import make_run
from tests.tiny import get_config

RATE = 8000
HOSTILE = ["<script>hacked=1<", "<img src=x onerror=hacked=1>", "Жанна 林さん & \"'", "x" * 240]
KIND = [f"speaker{number}" for number in range(4)]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run on tones of 8 speakers; those with hostile names are held out to validate."""
    root, config = tmp_path_factory.mktemp("speakers"), get_config()
    random = np.random.default_rng(0)
    for number, name in enumerate([*HOSTILE, *KIND]):
        seconds = np.arange(12 * RATE) / RATE
        tone = np.sin(2 * np.pi * (150 + 60 * number) * seconds) + random.normal(0, 0.05, 12 * RATE)
        write(root / name / "0.wav", (0.1 * tone).astype(np.float32), RATE)
    config.data = {"kind": "speakers", "root": str(root), "sample_rate": RATE, "crop_seconds": 0.12}
    held_out = {"validation": HOSTILE, "test": KIND[:2]}
    fingerprint = data_sets.make(config.data).open(held_out).fingerprint
    workdir = tmp_path_factory.mktemp("hostile") / "<b>run<"
    make_run(workdir, config, record=DataRecord(fingerprint, 0.05, held_out))
    metrics = MetricsFile(workdir / "metrics.jsonl", 0)
    for step in (1, 2, 3):
        metrics.write(step, {"train/loss": 1 / step})
        metrics.write(step, {"eval/si_snri": float(step), "eval/oracle_si_snri": 9.0})
    metrics.close()
    return workdir


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if executable() is None:
        pytest.skip(MISSING)
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened
