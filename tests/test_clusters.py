"""`main.py` on several devices and in several processes gives the training of one device."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.processes import ROOT, command

STEPS, COMPARED = 40, 8
FLAGS = [f"--config.train.steps={STEPS}", "--config.train.log_every=1"]
FLAGS += [f"--config.train.{name}_every={STEPS}" for name in ("eval", "checkpoint")]
FLAGS += ["--config.train.batch_size=8", "--config.matching.solver=scipy"]
# Large enough for FSDP to divide some arrays, and an average that has to be divided as well.
FLAGS += ["--config.model.slot_module.slot_size=64", "--config.model.slot_module.mlp=64"]
FLAGS += ["--config.train.ema_decay=0.9"]


def losses(workdir: Path) -> list[float]:
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):  # a line that is being written
            found += [json.loads(line).get("train/loss")]
    return [loss for loss in found if loss is not None]


@contextlib.contextmanager
def started(environment, workdir, *flags, devices=1, **variables):
    """A process with CPU devices of its own, which does not outlive the test."""
    process = subprocess.Popen(
        command(workdir, *FLAGS, *flags), cwd=ROOT, text=True,
        env={**environment, "JAX_NUM_CPU_DEVICES": str(devices), **variables},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def finish(process) -> str:
    """What a process that is done said; XLA warns there of arrays that it gathers needlessly."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "remat" not in err
    return out


def stop(process, workdir, after: int) -> None:
    """SIGTERM, when so many steps are done."""
    deadline = time.monotonic() + 200
    while len(losses(workdir)) < after:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)


def stopped_at(process) -> int:
    """The step after which a process stopped."""
    _, err = process.communicate(timeout=100)
    assert process.returncode == 143, err
    assert "remat" not in err
    return int(re.search(r"stopped by SIGTERM; step (\d+) is saved", err)[1])


@pytest.fixture(scope="module")
def one_device(bare, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("one")
    with started(bare, workdir) as process:
        stop(process, workdir, after=30)
        stopped_at(process)
    return losses(workdir)


def test_40_steps_on_eight_devices_with_callbacks(bare, tmp_path):
    """Nothing but the loop itself waits for steps, and more than 32 in flight would hang."""
    seldom = [f"--config.train.{name}_every={STEPS}" for name in ("log", "eval", "checkpoint")]
    with started(bare, tmp_path, *seldom, devices=8) as process:
        assert "8 cpu device(s)" in finish(process)
    assert len(losses(tmp_path)) == 1


@pytest.mark.parametrize("mesh", ["data", "fsdp"])
def test_eight_devices(bare, one_device, tmp_path, mesh):
    with started(bare, tmp_path, f"--config.mesh={mesh}", devices=8) as process:
        stop(process, tmp_path, after=COMPARED)
        step = stopped_at(process)
    found = losses(tmp_path)
    assert len(found) == step >= COMPARED
    np.testing.assert_allclose(found[:COMPARED], one_device[:COMPARED], rtol=1e-5)


def test_two_processes_and_then_another_number_of_devices(bare, one_device, tmp_path):
    """SIGTERM reaches one process; both stop after the same step, and one process goes on."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    cluster = {  # as in a task of Slurm
        "SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2",
        "JAX_COORDINATOR_PORT": str(port),
    }  # fmt: skip

    def task(number):
        own = {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)}
        return started(bare, tmp_path, devices=2, **cluster, **own)

    with task(0) as first, task(1) as second:
        stop(second, tmp_path, after=COMPARED)
        step = stopped_at(first)
        out, err = second.communicate(timeout=100)
        assert second.returncode == 143, err
        assert "parameters" not in out, "only one process speaks"
    assert {int(path.name) for path in (tmp_path / "checkpoints").iterdir()} == {step}
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert len(losses(tmp_path)) == step
    np.testing.assert_allclose(losses(tmp_path)[:COMPARED], one_device[:COMPARED], rtol=1e-5)

    others = ["--config.mesh=fsdp", "--config.train.micro_batches=2"]
    with started(bare, tmp_path, *others, devices=4) as process:
        stop(process, tmp_path, after=step + COMPARED)
        stopped_at(process)
    both = step + COMPARED
    np.testing.assert_allclose(losses(tmp_path)[:both], one_device[:both], rtol=1e-3)


@pytest.mark.parametrize(
    ("workdirs", "flags", "sentence"),
    [
        (("run", "run"), ["--config.seed=3"], "the processes of this run differ in their flags or"),
        (("here", "there"), [], "(is not one folder for all|another process of this run)"),
    ],
)
def test_what_processes_must_have_in_common(bare, tmp_path, workdirs, flags, sentence):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    cluster = [f"--coordinator=localhost:{port}", "--num_processes=2"]
    first, second = (tmp_path / name for name in workdirs)
    with (
        started(bare, first, *cluster, "--process_id=0") as one,
        started(bare, second, *cluster, "--process_id=1", *flags) as other,
    ):
        for process in (one, other):
            _, err = process.communicate(timeout=100)
            assert process.returncode == 2
            assert re.search(f"error: [^\n]*{sentence}", err), err
            assert "Traceback" not in err
    assert not list(tmp_path.glob("*/checkpoints"))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--coordinator=localhost:1", "--num_processes and --process_id go together"),
        ("--coordinator=localhost --num_processes=1 --process_id=0", "must be HOST:PORT"),
        ("--coordinator=localhost:1 --num_processes=2 --process_id=2", "counts from 0"),
    ],
)
def test_wrong_clusters_are_one_sentence(bare, tmp_path, flags, sentence):
    with started(bare, tmp_path / "run", *flags.split()) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert re.search(f"^error: .*{sentence}.*$", err, re.M), err
    assert "Traceback" not in err
