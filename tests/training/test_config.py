import json

import pytest
from ml_collections import ConfigDict

from audioslots_jax import UserError
from audioslots_jax.training.config import check, differences
from configs import paper, speakers, voices

IMPOSSIBLE = {
    "train.steps": (0, "at least 1"),
    "train.batch_size": (3, "multiple of the number of devices"),
    "train.micro_batches": (3, "divide the rows of a batch on each device"),
    "train.ema_decay": (1.0, "from 0 .none. to below 1"),
    "mesh": ("model", "one of data, fsdp"),
    "precision": ("float16", "one of float32, bfloat16"),
    "profile": (-1, "not be negative"),
    "train.learning_rate": (float("nan"), "above 0"),
    "train.warmup_steps": (-1, "not be negative"),
    "train.clip_norm": (-1.0, "not be negative"),
    "seed": (2**32, "below"),
    "data.kind": ("noise", "one of voices, speakers, libri2mix"),
    "data.sources": (9, "from 2 to 8"),
    "stft.power": (float("inf"), "finite"),
    "eval.examples": (7, "at most eval.mixtures"),
    "data.crop_seconds": (0.01, "at least one stft.window"),
    "stft.hop": (200, "at most half of stft.window"),
    "stft.window": (255, "even"),
    "stft.edges": ("round", "one of centred, chunk_edge"),
    "matching.solver": ("greedy", "one of scipy, optax, exhaustive"),
    "eval.mask": ("soft", "one of ibm, wiener"),
    "model.slots": (3, "equal data.sources"),
    "model.encoder.name": ("vgg", "one of resnet"),
    "model.encoder.groups": (3, "divide every width"),
    "model.encoder.widths": ((8,), "as long as"),
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
        check(tiny, devices=2)
    assert f"config.{part} is" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_unknown_fields_are_named(tiny):
    del tiny.stft.hop
    with pytest.raises(UserError, match=r"config\.stft\.hop is missing"):
        check(tiny)
    tiny.stft.hop = 128
    tiny.model.decoder = ConfigDict({**tiny.model.decoder, "depth": 3})
    with pytest.raises(UserError, match=r"config\.model\.decoder\.depth is no field"):
        check(tiny)


@pytest.mark.parametrize("variations", ["", "one_second", "autoencoder", "one_second,autoencoder"])
def test_published_configs_are_possible(variations):
    config = paper.get_config(variations)
    config.data.root = "somewhere"
    check(config)
    assert (config.data.crop_seconds == 1.0) == ("one_second" in variations)
    assert (config.model.slots == 1) == ("autoencoder" in variations)
    config = speakers.get_config()
    with pytest.raises(UserError, match=r"config\.data\.root is ''; it must name a folder"):
        check(config)
    check(voices.get_config())


@pytest.mark.parametrize(
    ("field", "value", "expectation"),
    [
        ("data.sources", 3, "must be 2"),
        ("data.crop_seconds", 12.0, "must be at most 10"),
        ("data.sample_rate", 8000, "must be 16000"),
    ],
)
def test_libri2mix_is_two_sources_of_10_s_at_16_khz(field, value, expectation):
    config = paper.get_config()
    config.update_from_flattened_dict({"data.root": "somewhere", "model.slots": 1, field: value})
    with pytest.raises(UserError, match=rf"config\.{field} is {value}; it {expectation}"):
        check(config)


def test_text_where_a_number_belongs_is_named(tiny):
    del tiny.train.steps
    tiny.train.steps = "many"
    with pytest.raises(UserError, match=r"config\.train\.steps is 'many'; it must be at least 1"):
        check(tiny)


def test_fields_of_another_kind_of_data_are_asked_for(tiny):
    tiny.data.kind = "libri2mix"
    with pytest.raises(UserError, match=r"config\.data\.root is missing"):
        check(tiny)


def test_a_misspelt_variation_is_named():
    with pytest.raises(UserError, match="no variation two_seconds"):
        paper.get_config("two_seconds")


def test_differences_name_what_matters(tiny):
    other = tiny.copy_and_resolve_references()
    other.train.learning_rate = 1.0
    other.model.encoder.widths = (4, 4)
    other.data.workers = 5
    assert differences(tiny, other) == [
        "model.encoder.widths ([8, 8] -> [4, 4])",
        "train.learning_rate (0.003 -> 1.0)",
    ]
    assert not differences(ConfigDict(json.loads(json.dumps(tiny.to_dict()))), tiny)
    del other.stft.hop
    assert "stft.hop (128 -> absent)" in differences(tiny, other)
