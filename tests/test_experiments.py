"""The benchmarks run, on sizes that take no time."""

import re
import subprocess
import sys
from pathlib import Path

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


def test_input_speed():
    printed = run("experiments/input_speed/run.py", "--rounds=1", "--seconds=0.1")
    assert int(re.search(r"prepare: ([\d,]+) x real time", printed)[1].replace(",", "")) > 0
    assert len(re.findall(r"^\| (?:official|dynamic|pre-mixed) [^|]*\| [1-9]", printed, re.M)) >= 4
    resident = [int(size) for size in re.findall(r"h \| [\d.,]+ GB \| (\d+) MB", printed)]
    assert len(resident) == 3
    # A memory map of the largest would have grown by the 500 MB that were read.
    assert resident[2] < resident[0] + 100
