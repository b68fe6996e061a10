import json

import pytest
from ml_collections import ConfigDict

from audioslots_jax import UserError
from audioslots_jax.training.settings import check, complete
from audioslots_jax.workdir import differences
from configs import compact, paper, voices

IMPOSSIBLE = {
    "train.steps": (0, "at least 1"),
    "train.batch_size": (3, "multiple of the number of devices"),
    "train.micro_batches": (3, "divide the rows of a batch on each device"),
    "train.ema_decay": (1.0, "from 0 .none. to below 1"),
    "mesh": ("model", "one of data, fsdp"),
    "precision": ("float16", "one of float32, bfloat16"),
    "profile": (-1, "not be negative"),
    "optimizer.name": ("sgd", "one of adam, muon"),
    "eval.evaluators": (("listening",), "some of separation"),
    "train.learning_rate": (0.0, "above 0"),
    "train.warmup_steps": (-1, "not be negative"),
    "train.clip_norm": (-1.0, "not be negative"),
    "seed": (2**32, "below"),
    "data.kind": ("noise", "one of voices, speakers, libri2mix"),
    "data.sources": (1, "at least 2"),
    "stft.power": (float("inf"), "finite"),
    "eval.examples": (7, "from 0 to eval.mixtures"),
    "data.crop_seconds": (0.01, "at least one stft.window"),
    "stft.hop": (200, "at most half of stft.window"),
    "stft.window": (255, "even"),
    "stft.edges": ("round", "one of centred, chunk_edge"),
    "matching.solver": ("greedy", "one of scipy, optax, exhaustive"),
    "eval.mask": ("soft", "one of ibm, wiener"),
    "eval.chunk_seconds": (0.01, "at least 0.1, or 0 for"),
    "eval.overlap": (1.0, "above 0 and below 1"),
    "model.slots": (0, "at least data.sources"),
    "model.mute": (True, "False without model.presence, and where estimates add up"),
    "model.encoder.name": ("vgg", "one of resnet"),
    "model.encoder.groups": (3, "divide every width"),
    "model.encoder.widths": ((8, 8), "as long as"),
    "model.encoder.blocks": ((1, 0), "at least 1"),
    "model.slot_module.heads": (3, "divide width"),
    "model.slot_module.layers": (0, "at least 1"),
    "model.decoder.width": (0, "at least 1"),
}


@pytest.mark.parametrize("field", list(IMPOSSIBLE))
def test_an_impossible_value_is_one_sentence_that_names_it(tiny, field):
    value, expectation = IMPOSSIBLE[field]
    tiny.update_from_flattened_dict({field: value})
    part = field if field != "model.encoder.widths" else "model.encoder.blocks"
    with pytest.raises(UserError, match=expectation) as error:
        check(complete(tiny), devices=2)
    assert f"config.{part} is" in str(error.value)
    assert "\n" not in str(error.value)


def test_slots_are_muted_where_estimates_need_not_add_up():
    config = compact.get_config("count")
    check(complete(config))
    config.model.decoder.adds_up = True
    with pytest.raises(UserError, match=r"config\.model\.mute is True"):
        check(complete(config))
    config.model.decoder = ConfigDict({"name": "spatial_broadcast"})
    with pytest.raises(UserError, match=r"config\.model\.mute is True"):
        check(complete(config))


def test_unknown_fields_are_named(tiny):
    tiny.model.decoder = ConfigDict({**tiny.model.decoder, "depth": 3})
    with pytest.raises(UserError, match=r"config\.model\.decoder\.depth is no field"):
        check(complete(tiny))


def test_fields_that_are_missing_take_their_defaults(tiny):
    """As in runs that are older than a field, or whose config says what differs alone."""
    whole = complete(tiny)
    older = ConfigDict(json.loads(json.dumps(tiny.to_dict())))
    for section in ("objectives", "optimizer", "profile"):
        del older[section]
    del older.model["presence"], older.model["mute"]
    del older.eval["evaluators"]
    assert not differences(complete(older).to_dict(), whole.to_dict())
    check(complete(older))
    bare = complete(ConfigDict())
    assert bare.stft.to_dict() == {"window": 512, "hop": 125, "edges": "centred", "power": 0.3}
    assert bare.model.encoder.blocks == (3, 4, 6, 3)
    check(bare)
    older.model.slots = 1
    assert complete(older).eval.evaluators == ("autoencoder", "oracle_masks")


def test_more_slots_than_sources_may_be_trained(tiny):
    tiny.model.slots = 4
    check(complete(tiny))


@pytest.mark.parametrize("variations", ["", "one_second", "autoencoder", "one_second,autoencoder"])
def test_published_configs_are_possible(variations):
    config = paper.get_config(variations)
    check(complete(config))
    assert (config.data.crop_seconds == 1.0) == ("one_second" in variations)
    assert (config.model.slots == 1) == ("autoencoder" in variations)
    assert config.matching.solver == "scipy"


@pytest.mark.parametrize(
    ("module", "variation"),
    [
        *((voices, names) for names in ("", "mask", "slot_attention", "mask,carry_over")),
        *(
            (voices, names)
            for names in ("mixit", "mask,mixit", "slot_attention,mixture", "autoencoder")
        ),
        *((compact, ""), (paper, "")),
    ],
)
def test_published_configs_leave_nothing_out(module, variation):
    """Every field can be set on the command line, which takes those that are there alone."""
    config = module.get_config(variation)
    missing = [name for name in differences(config.to_dict(), complete(config).to_dict())]
    assert not [name for name in missing if not name.startswith(("optimizer.", "objectives."))]
    check(complete(config))


def test_text_where_a_number_belongs_is_named(tiny):
    del tiny.train.steps
    tiny.train.steps = "many"
    with pytest.raises(
        UserError, match=r"config\.train\.steps is 'many'; it must be a whole number"
    ):
        check(complete(tiny))


@pytest.mark.parametrize("size", ["", "base", "large"])
@pytest.mark.parametrize("data", ["", "libri2mix", "count", "speaker_contrast"])
def test_sizes_of_the_compact_model_are_possible_on_any_data(size, data):
    config = complete(compact.get_config(f"{size},{data}"))
    check(config)
    assert config.data.kind == ("libri2mix" if data == "libri2mix" else "speakers")
    assert config.data.sources == config.model.slots == (3 if data == "count" else 2)


@pytest.mark.parametrize("names", ["mixit,count", "autoencoder,count", "mixit,mixture"])
def test_variations_that_exclude_each_other_are_named(names):
    with pytest.raises(UserError, match="not all of them"):
        voices.get_config(names)


def test_one_size_at_a_time():
    with pytest.raises(UserError, match="either base or large"):
        compact.get_config("base,large")
    with pytest.raises(UserError, match="either libri2mix, which has two voices, or count"):
        compact.get_config("libri2mix,count")


@pytest.mark.parametrize("module", [paper, compact, voices])
def test_a_misspelt_variation_is_named(module):
    with pytest.raises(UserError, match="no variation two_seconds"):
        module.get_config("two_seconds")


def test_differences_name_what_matters(tiny):
    other = tiny.copy_and_resolve_references()
    other.train.learning_rate = 1.0
    other.model.encoder.widths = (4, 4)
    other.data.workers = 5
    assert differences(tiny.to_dict(), other.to_dict()) == [
        "model.encoder.widths ([8] -> [4, 4])",
        "train.learning_rate (0.003 -> 1.0)",
    ]
    assert not differences(json.loads(json.dumps(tiny.to_dict())), tiny.to_dict())
    for chunks, free in ((1, True), (2, False)):  # which overlap as recordings do
        runs = [tiny.copy_and_resolve_references() for _ in range(2)]
        for run, overlap in zip(runs, (0.5, 0.75), strict=True):
            run.train.sequence, run.eval.overlap = chunks, overlap
        assert (not differences(*(run.to_dict() for run in runs))) == free
    parts = [tiny.copy_and_resolve_references() for _ in range(2)]
    parts[1].train.micro_batches = 2
    assert not differences(*(run.to_dict() for run in parts))
    for run in parts:
        run.train.with_sources = 0.5  # the others are added in pairs of a part
    assert differences(*(run.to_dict() for run in parts))
    del other.stft["hop"]
    assert "stft.hop (128 -> absent)" in differences(tiny.to_dict(), other.to_dict())
