import math
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType

from audioslots_jax import UserError
from audioslots_jax.doctor import estimate_memory, examine, modules
from audioslots_jax.training import flops, sharding
from audioslots_jax.training.shapes import shapes
from configs import paper, speakers, voices


@pytest.fixture
def divided(tiny):
    """A config with a state large enough to be divided over devices."""
    tiny.mesh = "fsdp"
    tiny.model.slot_module.update(slot_size=64, mlp=64)
    tiny.train.ema_decay = 0.9
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
    usual = modules(shapes(tiny))
    work = flops.training_flops(tiny)
    tiny.train.remat_decoder = True
    assert flops.training_flops(tiny) == work
    for row, expected in zip(modules(shapes(tiny)), usual, strict=True):
        assert (row.path, row.parameters, row.flops) == (
            expected.path, expected.parameters, expected.flops,
        )  # fmt: skip


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_a_divided_state_is_placed_as_training_places_it(divided, devices):
    found = shapes(divided)
    mesh = AbstractMesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    shardings = sharding.of_state("fsdp", mesh, found.state)
    memory = estimate_memory(divided, found, devices)
    for field in ("params", "opt_state", "average"):
        arrays = jax.tree.leaves(getattr(found.state, field))
        of_field = jax.tree.leaves(getattr(shardings, field))
        whole, each = memory.state[field]
        assert whole == sum(4 * array.size for array in arrays)
        assert each == sum(
            4 * math.prod(s.shard_shape(a.shape)) for s, a in zip(of_field, arrays, strict=True)
        )
        assert each == whole if devices == 1 else each < 0.8 * whole


def test_a_copied_state_is_whole_on_each_device(tiny):
    memory = estimate_memory(tiny, shapes(tiny), devices=4)
    assert all(whole == each for whole, each in memory.state.values())
    assert memory.accumulated == 0


def test_devices_and_micro_batches_share_the_rows(tiny):
    found = shapes(tiny)
    half = found._replace(sources=jax.ShapeDtypeStruct((2, 2, 960), jnp.float32))
    expected = estimate_memory(tiny, half, devices=1).working
    assert estimate_memory(tiny, found, devices=2).working == expected
    tiny.train.micro_batches = 2
    parted = estimate_memory(tiny, found, devices=1)
    assert parted.working == expected
    assert parted.accumulated == parted.state["params"][1]


def test_choices_that_save_memory_do(tiny):
    tiny.model.decoder.update(layers=4, width=32)

    def peak(**fields):
        tiny.update_from_flattened_dict(fields)
        return estimate_memory(tiny, shapes(tiny), devices=1).peak

    usual = peak()
    with jax.numpy_dtype_promotion("standard"):  # Flax's norms mix dtypes on purpose
        assert peak(precision="bfloat16") < 0.8 * usual
    assert peak(**{"precision": "float32", "train.remat_decoder": True}) < 0.8 * usual


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
