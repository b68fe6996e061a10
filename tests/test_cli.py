"""The ``audioslots`` command as a process."""

import re
import signal
import subprocess
import sys
import time

import pytest

from tests.data.files import noise, write


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "audioslots_jax.cli", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(*arguments):
    process = start(*arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


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
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence):
    code, out, err = run(*arguments)
    assert code == 2
    assert not out
    assert re.search(sentence, err), err
    assert "Traceback" not in err


def test_ctrl_c_while_packing_and_the_same_command_again(tmp_path):
    for take in range(3000):
        path = tmp_path / "in" / str(take % 7) / f"{take}.wav"
        write(path, noise(16_000, take % 50), 16000)
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
    assert re.search(r"store: 3,000 utterances of 7 speakers, 0\.83 h at 16000 Hz, 0\.10 GB\.", out)
    assert "x real time" in err
