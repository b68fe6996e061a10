"""What tests of experiments share."""

import sys

import pytest


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Runs the script of an experiment here; returns the file that it writes."""

    def written(benchmark, *flags):
        monkeypatch.setattr(sys, "argv", ["run.py", *flags, f"--output={tmp_path}"])
        benchmark.main()
        (path,) = tmp_path.iterdir()
        return path.read_text()

    return written
