"""What a config must hold before anything is compiled, and when two configs fit one workdir."""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from audioslots_jax import data, matching, models
from audioslots_jax.audio import MASKS, stft
from audioslots_jax.data import libri2mix, mixing, utterances
from audioslots_jax.data.mixtures import HELD_OUT_SEED
from audioslots_jax.errors import UserError
from audioslots_jax.models.resnet import ResNet
from audioslots_jax.training import sharding

# Fields that change neither the examples nor the parameters of a run, so it may resume with others.
# Recordings may move as long as their fingerprint stays.
FREE_FIELDS = frozenset(
    {
        "data.root",
        "data.eval_root",
        "data.workers",
        "mesh",
        "profile",
        "train.micro_batches",
        "train.remat_decoder",
        "train.keep_checkpoints",
        "train.checkpoint_every",
        "eval.examples",
    }
)

PRECISIONS = ("float32", "bfloat16")

# The fields of each kind of data beside those that all have.
TEXT_FIELDS: dict[str, tuple[str, ...]] = {
    "voices": (),
    "speakers": ("data.root", "data.eval_root"),
    "libri2mix": ("data.root",),
}


def check(config: ConfigDict, devices: int = 1, reads_data: bool = True) -> None:
    """Refuses a config with an impossible value.

    Args:
      config: a resolved config, as in ``configs/``.
      devices: number of devices the batch is divided over.
      reads_data: whether recordings will be read, so that ``data.root`` must name some.

    Raises:
      UserError: one sentence that names the first such field, its value and what it may be.
    """
    positive_integers = (
        "data.sources", "data.sample_rate", "data.workers", "stft.window", "stft.hop",
        "model.slots", "train.steps", "train.batch_size", "train.log_every", "train.eval_every",
        "train.checkpoint_every", "train.keep_checkpoints", "train.micro_batches", "eval.mixtures",
    )  # fmt: skip
    for name in positive_integers:
        _require(config, name, lambda v: v >= 1, "must be at least 1")
    for name in ("data.crop_seconds", "stft.power", "train.learning_rate"):
        _require(config, name, lambda v: 0 < v < math.inf, "must be above 0 and finite")
    for name in ("seed", "train.warmup_steps", "train.clip_norm", "eval.examples", "profile"):
        _require(config, name, lambda v: 0 <= v < math.inf, "must not be negative, nor infinite")
    _require(config, "seed", lambda v: v < HELD_OUT_SEED, f"must be below {HELD_OUT_SEED}")
    for name, choices in (
        ("mesh", sharding.KINDS),
        ("precision", PRECISIONS),
        ("train.remat_decoder", (True, False)),
        ("data.kind", tuple(data.KINDS)),
        ("stft.edges", stft.EDGES),
        ("matching.solver", tuple(matching.SOLVERS)),
        ("eval.mask", tuple(MASKS)),
        *((f"model.{part}.name", tuple(kinds)) for part, kinds in models.PARTS.items()),
    ):
        _require_one_of(config, name, choices)
    # Scores are the best of all permutations, whatever the solver of the loss.
    most = matching.EXHAUSTIVE_LIMIT
    _require(config, "data.sources", lambda v: 2 <= v <= most, f"must be from 2 to {most}")
    sources = config.data.sources
    _require(
        config, "model.slots", lambda v: v in (1, sources),
        f"must equal data.sources ({sources}), or be 1 for the autoencoder",
    )  # fmt: skip
    _require(config, "stft.window", lambda v: v % 2 == 0, "must be even")
    _require(
        config, "stft.hop", lambda v: 2 * v <= config.stft.window,
        f"must be at most half of stft.window ({config.stft.window})",
    )  # fmt: skip
    _require(
        config, "data.crop_seconds", lambda v: v * config.data.sample_rate >= config.stft.window,
        "must last at least one stft.window",
    )  # fmt: skip
    _require(
        config, "train.batch_size", lambda v: v % devices == 0,
        f"must be a multiple of the number of devices ({devices})",
    )  # fmt: skip
    share = config.train.batch_size // devices
    _require(
        config, "train.micro_batches", lambda v: share % v == 0,
        f"must divide the rows of a batch on each device ({share})",
    )  # fmt: skip
    _require(config, "train.ema_decay", lambda v: 0 <= v < 1, "must be from 0 (none) to below 1")
    for name in TEXT_FIELDS[config.data.kind]:
        _require(config, name, lambda v: isinstance(v, str), "must be text")
    if reads_data and config.data.kind != "voices":
        _require(config, "data.root", bool, "must name a folder: --config.data.root=DIR")
    if config.data.kind == "libri2mix":
        _require(config, "data.sources", lambda v: v == libri2mix.SOURCES, "must be 2")
        fields: tuple[tuple[str, tuple[object, ...]], ...] = (
            ("data.split", tuple(libri2mix.SPLITS)),
            ("data.eval_split", tuple(libri2mix.SPLITS)),
            ("data.mixing", ("official", "dynamic")),
            ("data.silence", mixing.SILENCES),
            ("data.allow_missing", (True, False)),
        )
        for name, allowed in fields:
            _require_one_of(config, name, allowed)
        _require(
            config, "data.eval_split", lambda v: v != config.data.split,
            "must be another split than data.split, whose speakers are trained on",
        )  # fmt: skip
        rate, longest = utterances.SAMPLE_RATE, mixing.INSTANCE_SECONDS
        _require(config, "data.sample_rate", lambda v: v == rate, f"must be {rate}")
        _require(config, "data.crop_seconds", lambda v: v <= longest, f"must be at most {longest}")
    _require(
        config, "eval.examples", lambda v: v <= config.eval.mixtures,
        f"must be at most eval.mixtures ({config.eval.mixtures})",
    )  # fmt: skip
    for part, kinds in models.PARTS.items():
        _check_part(config, part, kinds)


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """The fields in which two configs cannot share a workdir, each ``name (old -> new)``."""
    before, after = dict(_flat(old.to_dict())), dict(_flat(new.to_dict()))
    missing = "absent"
    return [
        f"{name} ({before.get(name, missing)} -> {after.get(name, missing)})"
        for name in sorted(before.keys() | after.keys())
        if before.get(name, missing) != after.get(name, missing) and name not in FREE_FIELDS
    ]


def _check_part(config: ConfigDict, part: str, kinds: dict[str, type[nn.Module]]) -> None:
    fields = config.model[part]
    kind = kinds[fields.name]
    known = set(inspect.signature(kind).parameters) - {"slots", "dtype", "remat", "parent", "name"}
    for name in fields:
        if name not in known | {"name"}:
            raise UserError(
                f"config.model.{part}.{name} is no field of {fields.name}; "
                f"it has {', '.join(sorted(known))}."
            )
        values = fields[name] if isinstance(fields[name], tuple) else (fields[name],)
        if any(isinstance(value, int) and value < 1 for value in values):
            _fail(f"model.{part}.{name}", fields[name], "must be at least 1")
    if "heads" in fields and fields.get("width", 0) % fields.heads:
        _fail(f"model.{part}.heads", fields.heads, f"must divide width ({fields.width})")
    if kind is ResNet:
        for name in ("blocks", "widths", "strides", "root_width", "groups"):
            _require(config, f"model.{part}.{name}", bool, "must not be empty")
        lengths = {len(fields[name]) for name in ("blocks", "widths", "strides")}
        if len(lengths) > 1:
            _fail(f"model.{part}.blocks", fields.blocks, "must be as long as widths and strides")
        for width in (fields.root_width, *fields.widths):
            if width % fields.groups:
                _fail(f"model.{part}.groups", fields.groups, f"must divide every width ({width})")


def _require(config: ConfigDict, name: str, holds: Callable[[Any], bool], expectation: str) -> None:
    value: Any = config
    for key in name.split("."):
        if not isinstance(value, ConfigDict) or key not in value:
            raise UserError(f"config.{name} is missing; see configs/voices.py for all fields.")
        value = value[key]
    try:
        possible = holds(value)
    except TypeError:  # text where a number belongs, in a config file of one's own
        possible = False
    if not possible:
        _fail(name, value, expectation)


def _require_one_of(config: ConfigDict, name: str, choices: Sequence[object]) -> None:
    shown = ", ".join(map(str, choices))
    _require(config, name, choices.__contains__, f"must be one of {shown}")


def _fail(name: str, value: object, expectation: str) -> None:
    raise UserError(f"config.{name} is {value!r}; it {expectation}.")


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            # A config read back from JSON has lists where the original has tuples.
            yield prefix + key, list(value) if isinstance(value, tuple) else value
