"""The training loop in this process: what it compiles, what it traces, what it measures."""

import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import audioslots_jax
from audioslots_jax.training.flops import training_flops
from audioslots_jax.training.loop import train
from audioslots_jax.training.report import Report
from audioslots_jax.training.throughput import PEAKS, Throughput, peak


@pytest.fixture
def compilations():
    """The number of programs that JAX has compiled, or taken from its cache."""
    names: list[str] = []

    def note(event, duration, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(details.get("fun_name", event))

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.clear_event_listeners()


def test_nothing_compiles_after_the_first_evaluation(tiny, tmp_path, compilations, monkeypatch):
    """Steps of all kinds come after it: logged, saved, evaluated, the last."""
    at_evaluations = []
    evaluation = Report.evaluation

    def count(*arguments):
        evaluation(*arguments)
        at_evaluations.append(len(compilations))

    monkeypatch.setattr(Report, "evaluation", count)
    tiny.train.update(steps=20, eval_every=8, micro_batches=2, ema_decay=0.9, remat_decoder=True)
    train(tiny, tmp_path)
    assert "step_once" in " ".join(compilations)
    assert len(at_evaluations) == 3
    assert compilations[at_evaluations[0] :] == []
    # What separates is the average, which is not what was trained last.
    separator = audioslots_jax.load(tmp_path)
    path = tmp_path / "checkpoints" / str(separator.step) / "state"
    state = ocp.StandardCheckpointer().restore(path)
    for found, average, last in zip(
        *map(jax.tree.leaves, (separator.params, state["average"], state["params"])), strict=True
    ):
        np.testing.assert_array_equal(found, average)
        assert np.any(found != last)


# jaxlib's on Python 3.12, which aborts where warnings are errors.
@pytest.mark.filterwarnings("ignore:builtin type event_stats has no __module__:DeprecationWarning")
def test_a_trace_has_the_steps_asked_for(tiny, tmp_path):
    tiny.profile = 2
    train(tiny, tmp_path)
    [trace] = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    steps = {
        int(value)
        for plane in jax.profiler.ProfileData.from_file(str(trace)).planes
        for line in plane.lines
        for event in line.events
        for name, value in event.stats
        if name == "step_num"
    }
    assert steps == {11, 12}  # the last of twelve, for the first ten warm up


def test_speed_is_logged_apart_from_the_metrics(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(PEAKS, "cpu", 1e12)
    train(tiny, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    for line in lines:
        assert line["speed/crops_per_second"] == pytest.approx(4 * line["speed/steps_per_second"])
        assert 0 <= line["speed/input_wait"] < 1
        flops = training_flops(tiny) * line["speed/steps_per_second"]
        assert line["speed/mfu"] == pytest.approx(flops / 1e12)
    assert "speed" not in (tmp_path / "metrics.jsonl").read_text()


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
    assert peak("NVIDIA H200") == 989e12
    assert peak("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak("TPU v5 lite") == 197e12
    assert peak("TPU v5p") == 459e12
    assert peak("cpu") is None
