"""The benchmarks run, on sizes that take no time."""

import argparse
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from tests.runs import make_run
from tests.tiny import get_config

ROOT = Path(__file__).parents[1]


def run(script, *flags):
    command = [sys.executable, script, *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_decoder_speed():
    printed = run("experiments/decoder_speed/run.py", "--slot-size=64", "--repeats=1")
    ratios = re.search(r"([\d.]+) x the time, ([\d.]+) x the memory", printed)
    assert float(ratios[2]) > 1


def test_matching_speed():
    printed = run("experiments/matching_speed/run.py", "--repeats=1")
    assert len(re.findall(r"^\| \d \|", printed, re.MULTILINE)) == 7


def test_blind_stitching(tmp_path):
    make_run(tmp_path, get_config())
    printed = run("experiments/blind_stitching/run.py", f"--workdir={tmp_path}", "--mixtures=1")
    assert len(re.findall(r"^\| .* -?[\d.]+ dB \|$", printed, re.MULTILINE)) == 5


def load(name):
    path = ROOT / "experiments" / name / "run.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    before, _ = map(int, benchmark.measure("memory 10", root, tmp_path, 0).split())
    benchmark.write_sparse_store(tmp_path / "sparse1000", 1000)
    after, _ = map(int, benchmark.measure("memory 1000", root, tmp_path, 0).split())
    # The 1 GB that the last one reads would stay resident if it were mapped.
    assert after < before + 200
