"""The training loop in this process: what it compiles, what it traces, what it measures."""

import json
import re

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import audioslots_jax
from audioslots_jax import UserError
from audioslots_jax.devices.throughput import PEAK_FLOPS, Throughput, peak_flops
from audioslots_jax.reports.report import Report
from audioslots_jax.training.flops import training_flops
from audioslots_jax.training.loop import train
from audioslots_jax.training.settings import complete
from tests.tiny import get_config

# jaxlib's on Python 3.12, which aborts where warnings are errors.
pytestmark = pytest.mark.filterwarnings(
    "ignore:builtin type event_stats has no __module__:DeprecationWarning"
)


def make_config():
    """Steps of all kinds: logged, saved, traced, evaluated and averaged, in parts."""
    config = get_config()
    config.profile = 2
    config.train.update(steps=20, eval_every=8, micro_batches=2, ema_decay=0.9, remat_decoder=True)
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, and the names of what was compiled before each of its evaluations and in all."""
    workdir = tmp_path_factory.mktemp("run")
    names: list[str] = []
    at_evaluations = []
    evaluation = Report.evaluation

    def note(event, duration, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(details.get("fun_name", event))

    def count(*arguments):
        evaluation(*arguments)
        at_evaluations.append(len(names))

    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.setattr(Report, "evaluation", count)
        patch.setitem(PEAK_FLOPS, "cpu", 1e12)
        jax.monitoring.register_event_duration_secs_listener(note)
        train(make_config(), workdir)
        jax.monitoring.clear_event_listeners()
    return workdir, names, at_evaluations


def test_nothing_compiles_after_the_first_evaluation(trained):
    _, names, at_evaluations = trained
    assert "step_once" in " ".join(names)
    assert len(at_evaluations) == 3
    assert names[at_evaluations[0] :] == []


def test_what_separates_is_the_average(trained):
    workdir, _, _ = trained
    separator = audioslots_jax.load(workdir)
    path = workdir / "checkpoints" / str(separator.step) / "state"
    state = ocp.StandardCheckpointer().restore(path)
    for found, average, last in zip(
        *map(jax.tree.leaves, (separator.params, state["average"], state["params"])), strict=True
    ):
        np.testing.assert_array_equal(found, average)
        assert np.any(found != last)


def test_a_trace_has_the_steps_asked_for(trained):
    [trace] = trained[0].glob("plugins/profile/*/*.xplane.pb")
    steps = {
        int(value)
        for plane in jax.profiler.ProfileData.from_file(str(trace)).planes
        for line in plane.lines
        for event in line.events
        for name, value in event.stats
        if name == "step_num"
    }
    assert steps == {11, 12}  # the first after ten that warm up


def test_speed_is_logged_apart_from_the_metrics(trained):
    workdir, _, _ = trained
    lines = [json.loads(line) for line in (workdir / "speed.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 9, 12, 15, 18, 20]
    of_step = training_flops(complete(make_config()))
    for line in lines:
        assert line["speed/crops_per_second"] == pytest.approx(4 * line["speed/steps_per_second"])
        assert 0 <= line["speed/input_wait"] < 1
        flops = of_step * line["speed/steps_per_second"]
        assert line["speed/mfu"] == pytest.approx(flops / 1e12)
    assert "speed" not in (workdir / "metrics.jsonl").read_text()


def test_an_exploding_loss_stops_the_run_and_names_the_step(tiny, tmp_path):
    tiny.train.learning_rate = 1e30
    with pytest.raises(
        UserError, match=r"training stopped at step \d+, which is not finite"
    ) as error:
        train(tiny, tmp_path)
    bad = int(re.search(r"at step (\d+)", str(error.value))[1])
    saved = [int(path.name) for path in (tmp_path / "checkpoints").iterdir()]
    assert max(saved, default=0) < bad


def test_throughput_counts_steps_waits_and_pauses(monkeypatch):
    clock = iter([0, 10, 12, 20, 25, 30, 31, 40, 40])
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    throughput = Throughput(batch_size=64, flops=2.0)  # starts at 0
    with throughput.waiting():  # 10 to 12
        pass
    with throughput.paused():  # 20 to 25
        pass
    with throughput.waiting():  # 30 to 31
        pass
    read = throughput.read()  # at 40: 35 seconds of training
    assert read == {
        "steps_per_second": pytest.approx(2 / 35),
        "crops_per_second": pytest.approx(128 / 35),
        "input_wait": pytest.approx(3 / 35),
        "mfu": pytest.approx(4 / 35),
    }


def test_peaks_are_of_the_device_named():
    assert peak_flops("NVIDIA H200") == 989e12
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_flops("TPU v5 lite") == 197e12
    assert peak_flops("TPU v5p") == 459e12
    assert peak_flops("cpu") is None
