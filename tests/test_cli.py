"""The ``audioslots`` command: in this process for mistakes, else as one of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audioslots_jax import cli
from tests.data.files import noise, write

ROOT = Path(__file__).parents[1]


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "audioslots_jax.cli", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def run(*arguments, **options):
    process = start(*arguments, **options)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "COMMAND"),
        (("prepare",), "ROOT, --output"),
        (
            ("prepare", "nowhere", "--output=out"),
            "^error: ROOT: there is no folder .*/nowhere; name one",
        ),
        (
            ("prepare", ".", "--output=out", "--sample-rate=0"),
            "--sample-rate: '0' is no whole number",
        ),
        (("prepare", ".", "--output=out", "--config.seed=1"), "arguments: --config.seed=1"),
        (("doctor",), "required: --config"),
        (("doctor", "--config=tests/tiny.py", "--devices=0"), "--devices: '0' is no whole number"),
        (
            ("doctor", "--config=configs/nowhere.py"),
            r"^error: --config: the file does not load: .*No such file.*nowhere\.py'\n$",
        ),
        (
            ("doctor", "--config=tests/tiny.py", "--config.train.stpes=1"),
            r"^error: --config\.train\.stpes=1: .* did you mean 'steps'\?\n$",
        ),
        (
            ("doctor", "--config=tests/tiny.py", "--config.train.steps=0"),
            r"^error: config\.train\.steps is 0; it must be at least 1\.\n$",
        ),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    try:
        code = cli.main(arguments)
    except SystemExit as ended:
        code = ended.code
    out, err = capsys.readouterr()
    assert code == 2
    assert not out
    assert re.search(sentence, err), err


def test_ctrl_c_while_packing_and_the_same_command_again(tmp_path):
    for take in range(50):
        write(tmp_path / f"{take}.wav", noise(16_000, take), 16000)
    # Enough to still be at it when the first part of the store is seen.
    for copy in range(4000):
        folder = tmp_path / "in" / str(copy % 7)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{copy}.wav").hardlink_to(tmp_path / f"{copy % 50}.wav")
    command = ("prepare", tmp_path / "in", "--output", tmp_path / "store")
    process = start(*command)
    while process.poll() is None and not list((tmp_path / "store").glob("part-*")):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("error: interrupted; the same command continues.\n")
    assert "Traceback" not in err
    code, out, err = run(*command)
    assert code == 0, err
    assert re.search(r"store: 4,000 utterances of 7 speakers, 1\.11 h at 16000 Hz, 0\.13 GB\.", out)


def test_the_doctor_needs_neither_recordings_nor_this_directory(tmp_path):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    config = os.path.relpath(ROOT / "tests" / "tiny.py", tmp_path)
    code, out, err = run(
        "doctor", f"--config={config}", "--config.train.batch_size=6", "--devices", "3",
        "--config.model.decoder.layers", "1", cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert code == 0, err
    assert "Traceback" not in err
    assert re.search("^sources +6 x 2 x 960 ", out, re.MULTILINE)
    assert re.search("^a step: ", out, re.MULTILINE)
    assert not list(tmp_path.iterdir())
