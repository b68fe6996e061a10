"""The benchmarks run, on sizes that take no time."""

import argparse
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import make_run
from tests.tiny import get_config

ROOT = Path(__file__).parents[1]


def run(script, *flags):
    command = [sys.executable, script, *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def load(name):
    path = ROOT / "experiments" / name / "run.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Runs the script of an experiment here; returns the file that it writes."""

    def written(benchmark, *flags):
        monkeypatch.setattr(sys, "argv", ["run.py", *flags, f"--output={tmp_path}"])
        benchmark.main()
        (path,) = tmp_path.iterdir()
        return path.read_text()

    return written


def test_decoder_speed(written):
    benchmark = load("decoder_speed")
    benchmark.SIZE = (32, 16)
    table = written(benchmark, "--slot-size=256", "--repeats=1")
    ratios = re.search(r"([\d.]+) x the time, ([\d.]+) x the memory", table)
    assert float(ratios[2]) > 1


def test_matching_speed(written):
    benchmark = load("matching_speed")
    benchmark.SIZES = ((2, 2), (4, 2))
    table = written(benchmark, "--repeats=1")
    assert len(re.findall(r"^\| \d x 2 (\| \d+ ){3}\|$", table, re.MULTILINE)) == 2


def test_blind_stitching(written, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    make_run(workdir, get_config())
    table = written(load("blind_stitching"), f"--workdir={workdir}", "--mixtures=2")
    rows = re.findall(r"^\| .*(?: \| -?[\d.]+ ± [\d.]+ dB){2} \|$", table, re.MULTILINE)
    assert len(rows) == 5
    assert rows[-1].startswith("| the truth (oracle stitching) |")


def test_separation_speed(tmp_path):
    """Its measurements; the script makes each in a process of its own."""
    make_run(tmp_path, get_config())
    benchmark = load("separation_speed")
    options = argparse.Namespace(workdir=tmp_path, long=70)
    for measurement in (benchmark.ours, benchmark.long):
        speed, memory = measurement(options)
        assert speed > 0
        assert memory > 100


def test_input_speed(tmp_path):
    """Its measurements; the script makes each in a process of its own."""
    benchmark = load("input_speed")
    root = benchmark.write_noise(tmp_path / "noise")
    assert benchmark.audio_seconds(root) == 40 * 12
    benchmark.prepare.prepare(root, tmp_path / "store", 16000)
    contenders = [name for name in benchmark.CONTENDERS if name != "wav, torch"]
    for contender in contenders:
        assert float(benchmark.measure(contender, root, tmp_path, seconds=0.01)) > 100
    assert float(benchmark.measure("start", root, tmp_path, 0)) > 0
    benchmark.write_sparse_store(tmp_path / "sparse10", 10)
    benchmark.READ = 50
    before, _ = map(int, benchmark.measure("memory 10", root, tmp_path, 0).split())
    benchmark.write_sparse_store(tmp_path / "sparse1000", 1000)
    benchmark.READ = 500
    after, _ = map(int, benchmark.measure("memory 1000", root, tmp_path, 0).split())
    # The 1 GB that the last one reads would stay resident if it were mapped.
    assert after < before + 600
