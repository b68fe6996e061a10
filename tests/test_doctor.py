import dataclasses
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from audioslots_jax import UserError
from audioslots_jax.doctor import estimate_memory, examine, modules
from audioslots_jax.models import SpatialBroadcastDecoder
from audioslots_jax.training import flops
from audioslots_jax.training.shapes import shapes
from configs import paper, speakers, voices


@pytest.fixture
def divided(tiny):
    """A config whose state is divided over devices and whose batch is taken in parts."""
    with tiny.unlocked():
        tiny.mesh = "fsdp"
        tiny.train.micro_batches = 2
    return tiny


def test_rows_add_up(tiny):
    found = shapes(tiny)
    whole, *rows = modules(found)
    parts = [row for row in rows if len(row.path) == 1]
    assert [row.path[0] for row in parts] == ["encoder", "slot_module", "decoder"]
    assert whole.parameters == sum(x.size for x in jax.tree.leaves(found.state.params))
    spectrograms = jax.eval_shape(found.task.spectrograms, found.sources)
    work = flops.count(found.task.apply, found.state.params, spectrograms)
    assert whole.flops == sum(work.values())
    for above in (whole, *parts):
        below = [
            row
            for row in rows
            if len(row.path) == len(above.path) + 1 and row.path[:-1] == above.path
        ]
        assert above.parameters == sum(row.parameters for row in below)
        assert above.flops == sum(row.flops for row in below)


def test_outputs_are_those_of_the_model(tiny):
    found = shapes(tiny)
    spectrograms = jax.eval_shape(found.task.spectrograms, found.sources)
    outputs = jax.eval_shape(found.task.apply, found.state.params, spectrograms)
    rows = {row.path: row for row in modules(found)}
    for path, output in {
        ("encoder",): outputs.grid,
        ("encoder", "root"): outputs.features["root"],
        ("encoder", "stage1"): outputs.features["stage1"],
        ("slot_module",): outputs.slots,
        ("slot_module", "layer2"): outputs.slots,
        ("decoder",): outputs.spectrograms,
    }.items():
        assert (rows[path].output.shape, rows[path].output.dtype) == (output.shape, output.dtype)
    queries = rows["slot_module", "queries"]
    assert queries.output is None
    assert queries.parameters == 2 * 16


def test_rematerialisation_is_another_way_to_the_same_model(tiny):
    found = shapes(tiny)
    fields = {key: value for key, value in tiny.model.decoder.items() if key != "name"}
    decoder = nn.remat(SpatialBroadcastDecoder, static_argnums=(2,))(**fields)
    model = dataclasses.replace(found.task.model, decoder=decoder)
    again = found._replace(task=dataclasses.replace(found.task, model=model))
    assert modules(again) == modules(found)


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_a_divided_state_is_divided_along_its_largest_axes(divided, devices):
    found = shapes(divided)
    mesh = AbstractMesh((devices,), ("data",), axis_types=(AxisType.Auto,))

    def on_each(array):
        sizes = [size if size % devices == 0 else 0 for size in array.shape]
        spec = [None] * array.ndim
        if any(sizes):
            spec[int(np.argmax(sizes))] = "data"
        shard = NamedSharding(mesh, PartitionSpec(*spec)).shard_shape(array.shape)
        return int(np.prod(shard)) * 4

    memory = estimate_memory(divided, found, devices)
    for field in ("params", "opt_state"):
        arrays = jax.tree.leaves(getattr(found.state, field))
        whole, each = memory.state[field]
        assert whole == sum(array.size * 4 for array in arrays)
        assert each == sum(map(on_each, arrays))
    assert memory.gathered == (memory.state["params"][0] if devices > 1 else 0)
    assert memory.accumulated == memory.state["params"][1]


def test_a_copied_state_is_whole_on_each_device(tiny):
    memory = estimate_memory(tiny, shapes(tiny), devices=4)
    assert all(whole == each for whole, each in memory.state.values())
    assert memory.gathered == memory.accumulated == 0


def test_devices_and_micro_batches_share_the_rows(tiny, divided):
    found = shapes(divided)
    half = found._replace(sources=jax.ShapeDtypeStruct((2, 2, 960), jnp.float32))
    with divided.unlocked():
        divided.mesh = "data"
        divided.train.micro_batches = 1
    expected = estimate_memory(divided, half, devices=1).working
    assert estimate_memory(divided, found, devices=2).working == expected
    with divided.unlocked():
        divided.train.micro_batches = 2
    assert estimate_memory(divided, found, devices=1).working == expected


@pytest.mark.parametrize("kind", [voices, speakers])
def test_small_configs_are_told_of_without_recordings(kind):
    config = kind.get_config()
    report = examine(config, devices=2)
    lines = report.splitlines()
    assert max(map(len, lines)) <= 100
    assert re.search(r"^sources, waveforms +8 x 2 x 4000 +float32 +250 KiB$", report, re.M)
    assert re.search(r"^estimates +8 x 2 x \d+ x \d+ +float32", report, re.M)
    assert re.search(r"^  stage2 +8 x \d+ x \d+ x 64 .* 57,728 ", report, re.M)
    assert re.search(r"^a training step: \d+\.\d GFLOP, 3\.0 times the forward pass", report, re.M)
    assert re.search(r"^Adam's moments +15\.6 MiB +15\.6 MiB$", report, re.M)
    assert re.search(r"^peak.* +\d+\.?\d* MiB$", report, re.M)


def test_the_autoencoder_of_the_paper_sees_every_source_alone():
    report = examine(paper.get_config("autoencoder"), devices=4)
    assert re.search(r"^their spectrograms +64 x 1 x 257 x 64 +complex64", report, re.M)
    assert re.search(r"^slots +64 x 1 x 4096 ", report, re.M)


def test_a_config_that_cannot_be_trained_is_refused(tiny):
    with pytest.raises(UserError, match="multiple of the number of devices"):
        examine(tiny, devices=3)
    tiny.model.slots = 5
    with pytest.raises(UserError, match=r"config\.model\.slots is 5"):
        examine(tiny, devices=1)
