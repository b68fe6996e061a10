"""The tutorial, typed from start to end."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def clone(tmp_path_factory, bare):
    """A copy of the repository in which all of the tutorial was done."""
    clone = tmp_path_factory.mktemp("clone")
    for folder in ("audioslots_jax", "configs"):
        shutil.copytree(ROOT / folder, clone / folder)
    shutil.copy(ROOT / "main.py", clone)
    # The command that is installed, on what is in the clone.
    path = f"{Path(sys.executable).parent}:{bare['PATH']}"
    environment = {**bare, "PYTHONPATH": f"{clone}:{bare['PYTHONPATH']}", "PATH": path}
    for language, name, text in FENCE.findall((ROOT / "docs" / "tutorial.md").read_text()):
        if language == "python":
            (clone / name).write_text(text)
            continue
        command = ["git", "apply", "-"] if language == "diff" else ["bash", "-euo", "pipefail"]
        result = subprocess.run(
            command, input=text, cwd=clone, env=environment, text=True, capture_output=True
        )
        assert result.returncode == 0, f"{text}\n{result.stdout}\n{result.stderr}"
    return clone


def test_it_leaves_what_it_promises(clone):
    for name in ("runs/mask/separated/4/estimate_2.wav", "out/mixture_2.wav", "compare.html"):
        assert (clone / name).stat().st_size
    for name in ("runs/mask/lens.html", "runs/equaliser/lens.html", "out/mixture.wav.html"):
        assert "<audio" in (clone / name).read_text()
    compared = (clone / "compare.html").read_text()
    assert "model.decoder.name (mask -&gt; equaliser)" in compared


def test_its_figures_are_those_of_the_runs(clone):
    """To a decibel, which is what machines may differ by."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    told = re.search(r"si_snri +([\d.]+)", text)[1], re.search(r"reaches ([\d.]+) dB", text)[1]
    pages = [(clone / "runs" / run / "lens.html").read_text() for run in ("mask", "equaliser")]
    scores = [re.search(r"([\d.]+) dB on held-out crops", page)[1] for page in pages]
    assert [float(x) for x in scores] == pytest.approx([float(x) for x in told], abs=1)
