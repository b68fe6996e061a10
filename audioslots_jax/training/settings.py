"""The config of a training: fields of its own, defaults of all, and what must fit together."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from ml_collections import ConfigDict

from audioslots_jax import fields, models
from audioslots_jax.audio import MASKS
from audioslots_jax.data import data_sets
from audioslots_jax.data.batch import HELD_OUT_SEED, crop_samples
from audioslots_jax.data.data_sets import DATA_SETS
from audioslots_jax.evaluation.evaluators import EVALUATORS
from audioslots_jax.fields import require
from audioslots_jax.matching import EXHAUSTIVE_LIMIT
from audioslots_jax.objectives import OBJECTIVES
from audioslots_jax.objectives.mixit import MOST
from audioslots_jax.separator import STFTFields
from audioslots_jax.training import optimizers
from audioslots_jax.training.optimizers import OPTIMIZERS
from audioslots_jax.training.step import Task, make_task, training_samples

PAIR = 2  # mixtures that are added where no source is known
EVERY = ("log_every", "eval_every", "checkpoint_every", "keep_checkpoints")


@dataclasses.dataclass(frozen=True)
class Run:
    """The fields of a config that are in no section.

    Attributes:
      seed: of parameters, examples and whatever else is drawn.
      mesh: ``data`` copies parameters and optimiser to all devices, ``fsdp`` divides them.
      precision: of activations and products.
      profile: steps to trace.
    """

    seed: int = 0
    mesh: Literal["data", "fsdp"] = "data"
    precision: Literal["float32", "bfloat16"] = "float32"
    profile: int = 0

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        if not 0 <= self.seed < HELD_OUT_SEED:
            yield "seed", f"must be from 0 to below {HELD_OUT_SEED}"
        if self.profile < 0:
            yield "profile", "must not be negative"


@dataclasses.dataclass(frozen=True)
class Matching:
    """The section ``matching``.

    Attributes:
      solver: see `matching.assign`.
    """

    solver: Literal["scipy", "optax", "exhaustive"] = "scipy"


@dataclasses.dataclass(frozen=True)
class Train:
    """The section ``train``.

    Attributes:
      steps: of the whole training.
      start_from: a model whose parameters this one begins with, see `start_from`; who was trained
        on there may be held out here. Empty for new parameters.
      batch_size: rows of a batch, on all devices together.
      learning_rate: after the warm-up.
      warmup_steps: in which it rises from 0.
      clip_norm: global norm that gradients are clipped to; 0 for none.
      micro_batches: parts of a batch that are computed one after the other.
      sequence: crops in a row whose slots carry over, overlapping as ``eval.overlap`` says.
      with_sources: share of each batch whose sources are known; of the others `mixit` and
        `mixture_magnitude` learn.
      ema_decay: of the parameters' moving average; 0 for none.
      remat_decoder: compute the decoder's activations twice in place of keeping them.
      log_every, eval_every, checkpoint_every: steps between lines of metrics, and so on.
      keep_checkpoints: how many of the last ones are kept, beside the best.
    """

    steps: int = 300_000
    start_from: str = ""
    batch_size: int = 64
    learning_rate: float = 2e-4
    warmup_steps: int = 2500
    clip_norm: float = 0.0
    micro_batches: int = 1
    sequence: int = 1
    with_sources: float = 1.0
    ema_decay: float = 0.0
    remat_decoder: bool = False
    log_every: int = 100
    eval_every: int = 5000
    checkpoint_every: int = 1000
    keep_checkpoints: int = 3

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from fields.positive(self, "steps", "batch_size", "micro_batches", *EVERY)
        yield from fields.positive(self, "sequence")
        yield from fields.positive(self, "learning_rate")
        for name in ("warmup_steps", "clip_norm"):
            if getattr(self, name) < 0:
                yield name, "must not be negative"
        if not 0 <= self.ema_decay < 1:
            yield "ema_decay", "must be from 0 (none) to below 1"
        if not 0 <= self.with_sources <= 1:
            yield "with_sources", "must be from 0 to 1"


@dataclasses.dataclass(frozen=True)
class Eval:
    """The section ``eval``.

    Attributes:
      mixtures: held-out mixtures that are scored.
      mask: what a decoder's magnitudes are made to, here and in separating.
      chunk_seconds: length of the chunks that recordings are separated in; 0 for that of a crop.
      overlap: share of a chunk that is also in the next one.
      examples: mixtures that are drawn and written as wavs.
      evaluators: names in `EVALUATORS`; the first score of the first chooses the best checkpoint.
    """

    mixtures: int = 512
    mask: str = "wiener"
    chunk_seconds: float = 0.0
    overlap: float = 0.75
    examples: int = 4
    evaluators: Sequence[str] = ("separation", "oracle_masks")

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from fields.positive(self, "mixtures")
        if not 0 <= self.examples <= self.mixtures:
            yield "examples", f"must be from 0 to eval.mixtures ({self.mixtures})"
        if not (self.chunk_seconds == 0 or self.chunk_seconds >= 0.1):
            yield "chunk_seconds", "must be at least 0.1, or 0 for the length of a crop"
        if not 0 < self.overlap < 1:
            yield "overlap", "must be above 0 and below 1"
        if self.mask not in MASKS:
            yield "mask", f"must be one of {', '.join(MASKS)}"
        if set(self.evaluators) - EVALUATORS.keys():
            yield "evaluators", f"must be some of {', '.join(EVALUATORS)}"


SECTIONS = {"stft": STFTFields, "matching": Matching, "train": Train, "eval": Eval}
# Parts of the model, and what they are by default.
MODEL = {"encoder": "resnet", "slot_module": "query_transformer", "decoder": "spatial_broadcast"}


def complete(config: ConfigDict) -> ConfigDict:
    """Returns a config with the defaults of all fields that it does not have.

    So a run keeps loading when later versions add fields.

    Raises:
      UserError: if a part is named that does not exist.
    """
    given = config.to_dict()
    model, objectives = given.get("model", {}), given.get("objectives", {"matched_magnitude": {}})

    def part(
        kinds: Mapping[str, Any], where: str, section: Mapping[str, Any], key: str, default: str
    ) -> dict[str, Any]:
        chosen = fields.choose(kinds, {key: default, **section}, where, key=key)
        return {key: chosen, **fields.defaults(kinds[chosen], without=models.GIVEN)}

    tree = {
        **fields.defaults(Run),
        **{name: fields.defaults(kind) for name, kind in SECTIONS.items()},
        "data": part(DATA_SETS, "data", given.get("data", {}), "kind", "voices"),
        "optimizer": part(OPTIMIZERS, "optimizer", given.get("optimizer", {}), "name", "adam"),
        "model": {"slots": 2, "presence": False, "mute": False}
        | {
            name: part(models.PARTS[name], f"model.{name}", model.get(name, {}), "name", default)
            for name, default in MODEL.items()
        },
        "objectives": {
            name: {"weight": 1.0, **fields.defaults(OBJECTIVES[name])}
            for name in objectives
            if name in OBJECTIVES
        },
    }
    if model.get("slots") == 1:
        tree["eval"]["evaluators"] = ("autoencoder", "oracle_masks")
    return ConfigDict(_merged(tree, given))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Returns two trees in one, in which the upper hides what it holds as well."""
    merged = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            merged[name] = _merged(below[name], above[name])
    return merged


def check(config: ConfigDict, devices: int = 1) -> None:
    """Refuses a complete config with an impossible value, on so many devices.

    Raises:
      UserError: one sentence that names the first such field, its value and what it may be.
    """
    sections = {*SECTIONS, "data", "optimizer", "model", "objectives"}
    fields.make_section(Run, {k: v for k, v in config.items() if k not in sections}, "")
    for name, kind in SECTIONS.items():
        fields.make_section(kind, config[name], name)
    data, train, slots = data_sets.make(config.data), config.train, config.model.slots
    optimizers.build(config)
    names = {"slots", "presence", "mute", *MODEL}
    require(set(config.model) == names, "model", sorted(config.model), f"has {sorted(names)}")
    for name in ("presence", "mute"):
        problem = fields.mismatch(config.model[name], bool)
        require(not problem, f"model.{name}", config.model[name], problem)
    able = config.model.presence and not config.model.decoder.get("adds_up", True)
    require(
        able or not config.model.mute, "model.mute", config.model.mute,
        "must be False without model.presence, and where estimates add up to the mixture: it needs "
        "a decoder of masks with adds_up=False",
    )  # fmt: skip
    require(
        isinstance(slots, int) and (slots == 1 or slots >= data.sources), "model.slots", slots,
        f"must be at least data.sources ({data.sources}), or 1 for the autoencoder",
    )  # fmt: skip
    # Scores are the best of all assignments, whatever the solver of the loss.
    require(
        math.perm(slots, min(slots, data.sources)) <= EXHAUSTIVE_LIMIT, "model.slots", slots,
        f"must leave at most {EXHAUSTIVE_LIMIT} assignments to data.sources ({data.sources})",
    )  # fmt: skip
    require(
        data.crop_seconds * data.sample_rate >= config.stft.window,
        "data.crop_seconds", data.crop_seconds, "must last at least one stft.window",
    )  # fmt: skip
    if train.sequence > 1:
        whole = slots > 1 and train.with_sources == 1 and config.eval.chunk_seconds == 0
        require(
            whole, "train.sequence", train.sequence,
            "must be 1 for the autoencoder, without sources, and with eval.chunk_seconds",
        )  # fmt: skip
    if training_samples(config) > crop_samples(data):
        seconds = training_samples(config) / data.sample_rate
        longer = dataclasses.replace(data, crop_seconds=seconds)  # type: ignore[type-var]
        for name, expectation in longer.problems():
            require(
                False,
                f"data.{name}",
                getattr(longer, name),
                f"is what is trained on; {expectation}",
            )
    _check_sources(config, make_task(config), devices)
    wrong = "separation" if slots == 1 else "autoencoder"
    require(
        wrong not in config.eval.evaluators, "eval.evaluators", config.eval.evaluators,
        f"must not hold {wrong} with {slots} slot(s)",
    )  # fmt: skip
    require(
        config.model.presence or "counting" not in config.eval.evaluators,
        "eval.evaluators", config.eval.evaluators, "must not hold counting without model.presence",
    )  # fmt: skip
    require(
        train.batch_size % devices == 0, "train.batch_size", train.batch_size,
        f"must be a multiple of the number of devices ({devices})",
    )  # fmt: skip
    share = train.batch_size // devices
    require(
        share % train.micro_batches == 0, "train.micro_batches", train.micro_batches,
        f"must divide the rows of a batch on each device ({share})",
    )  # fmt: skip


def _check_sources(config: ConfigDict, task: Task, devices: int) -> None:
    """Refuses objectives that do not fit the share of a batch whose sources are known."""
    share, names = config.train.with_sources, sorted(config.objectives)
    supervised = task.objectives.that_need("sources").parts
    partners = task.objectives.that_need("partners").parts
    pairs = task.objectives.that_need("pairs").parts
    if share == 1:
        require(
            len(supervised) + len(partners) == len(names), "train.with_sources", share,
            "must be below 1 with objectives that learn without sources, such as mixit",
        )  # fmt: skip
        alone = not supervised or task.autoencoder or task.sequence is not None
        require(
            not (partners and alone), "objectives", names,
            "must not compare voices (speaker_contrast) without another objective, with one slot, "
            "or with train.sequence above 1",
        )  # fmt: skip
        parts, fewest = config.train.micro_batches, config.data.sources
        require(
            not partners or config.train.batch_size // parts >= fewest > 1,
            "train.micro_batches", parts,
            f"must leave at least as many rows together as sources, {fewest} and more than one, "
            "for their voices to have new partners (speaker_contrast)",
        )  # fmt: skip
        return
    require(
        not partners, "objectives", names,
        "must not compare voices (speaker_contrast) with train.with_sources below 1",
    )  # fmt: skip
    require(
        len(supervised) < len(names), "objectives", names,
        "must hold one that learns without sources, such as mixit, with train.with_sources below 1",
    )  # fmt: skip
    require(
        bool(supervised) == (share > 0), "objectives", names,
        "must hold one that learns from sources if train.with_sources is above 0, and else none",
    )  # fmt: skip
    require(task.separator.slots > 1, "model.slots", 1, "must be more without sources")
    rows = config.train.batch_size // config.train.micro_batches
    unknown = rows - round(share * rows)
    multiple = (2 if pairs else 1) * devices
    require(
        unknown > 0 and unknown % multiple == 0 and (unknown < rows or not share),
        "train.with_sources", share,
        f"must leave a multiple of {multiple} of {rows} mixtures without sources, and others with",
    )  # fmt: skip
    for _, part in pairs:
        tried = PAIR**task.separator.slots if getattr(part, "mixing", "") == "all" else 1
        require(
            tried <= MOST, "model.slots", task.separator.slots,
            "is too many for objectives.mixit.mixing 'all'; choose 'least_squares'",
        )  # fmt: skip
