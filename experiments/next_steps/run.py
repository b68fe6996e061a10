"""The paper's own next steps, side by side; see README.md.

python experiments/next_steps/run.py VARIANT SEED [SEED ...]
python experiments/next_steps/run.py --table
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).parents[2]))

from audioslots_jax.devices.memory import keep_freed_memory
from audioslots_jax.training.loop import train
from configs import compact, voices

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Variant:
    """A training.

    Attributes:
      table: it belongs into.
      title: its row.
      names: variations of its config.
      flags: fields that differ from it.
      speech: of `compact` rather than `voices`.
    """

    table: str
    title: str
    names: str = ""
    flags: tuple[tuple[str, object], ...] = ()
    speech: bool = False


SUPERVISED = "Slot Attention and the transformer, supervised"
ALONE = "Without sources"
SPEECH = "Without sources, real speech"
RANDOM = "For more slots than voices"
PROBED = "To ask who speaks (experiments/speaker_probe)"
FOUR = ("model.slots", 4)
COMPETING = {"name": "slot_attention", "slot_size": 384, "width": 192, "mlp": 384}
FEWER = ("train.steps", 1000)
SEMI = (FOUR, ("train.with_sources", 0.125))
PAPERS = ("stft", "model", "objectives", "optimizer")  # what makes configs/voices.py the paper's
MIXED = {"mixit": {"weight": 1.0}}
BOTH = {**MIXED, "matched_snr": {"weight": 1.0}, "affinity": {"weight": 10.0}}
VARIANTS = {
    "transformer": Variant(SUPERVISED, "voices, transformer"),
    "slot_attention": Variant(SUPERVISED, "voices, Slot Attention", "slot_attention"),
    "random": Variant(
        RANDOM, "voices, Slot Attention, random start", "slot_attention",
        (FEWER, ("model.slot_module.start", "random")),
    ),
    "mask": Variant(SUPERVISED, "voices, masks, gated pooling", "mask"),
    "mask_slot_attention": Variant(
        SUPERVISED, "voices, masks, Slot Attention", "mask,slot_attention"
    ),
    "speech": Variant(SUPERVISED, "compact, gated pooling", speech=True),
    "speech_paper": Variant(
        PROBED, "the network of configs/voices.py on real speech", "",
        (
            *((part, voices.get_config()[part].to_dict()) for part in PAPERS),
            ("data.crop_seconds", 3.0), ("train.batch_size", 4), ("train.learning_rate", 1e-3),
            ("train.warmup_steps", 100), ("train.remat_decoder", True), FEWER,
            ("eval.chunk_seconds", 0.0), ("eval.overlap", 0.75),
        ),
        speech=True,
    ),
    "speech_slot_attention": Variant(
        SUPERVISED, "compact, Slot Attention", "", (("model.slot_module", COMPETING),), speech=True
    ),
    "four": Variant(ALONE, "all sources, four slots", "mask", (FOUR,)),
    "mixit": Variant(ALONE, "MixIT", "mask,mixit"),
    "semi": Variant(
        ALONE, "MixIT and an eighth with sources", "mask", (*SEMI, ("objectives", BOTH))
    ),
    "mixture": Variant(
        ALONE, "Slot Attention that paints the mixture", "slot_attention,mixture", (FEWER,)
    ),
    "speech_four": Variant(SPEECH, "all sources, four slots", "", (FOUR,), speech=True),
    "speech_mixit": Variant(
        SPEECH, "MixIT", "",
        (FOUR, ("train.with_sources", 0.0), ("objectives", MIXED), ("model.encoder.embedding", 0)),
        speech=True,
    ),
    "speech_semi": Variant(
        SPEECH, "MixIT and an eighth with sources", "", (*SEMI, ("objectives", BOTH)), speech=True
    ),
}  # fmt: skip


def make_config(variant: Variant, seed: int, data: str) -> ConfigDict:
    """Returns the config of a training."""
    config = (compact if variant.speech else voices).get_config(variant.names)
    config.seed = seed
    if variant.speech:
        config.data.root = data
    for name, value in variant.flags:
        *path, last = name.split(".")
        section = config
        for part in path:
            section = section[part]
        section[last] = ConfigDict(value) if isinstance(value, dict) else value
    return config


def measure(name: str, seed: int, data: str, workdir: Path | None) -> dict:
    """Returns the scores of a training on held-out crops, and its learning curve."""
    config = make_config(VARIANTS[name], seed, data)
    with tempfile.TemporaryDirectory() as folder:
        run = (workdir or Path(folder)) / f"{name}-{seed}"
        start = time.perf_counter()
        scores = train(config, run)
        minutes = (time.perf_counter() - start) / 60
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        curve = {line["step"]: line["eval/si_snri"] for line in lines if "eval/si_snri" in line}
    return {
        "variant": name,
        "seed": seed,
        "steps": config.train.steps,
        "minutes_beside_other_work": round(minutes, 1),
        "validation": {step: round(value, 3) for step, value in curve.items()},
        "scores": {key: round(value, 3) for key, value in scores.items()},
    }


def tables() -> str:
    """Returns the means over the seeds of all trainings in `RESULTS`, a table after the other."""
    runs = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*-*.json"))]
    blocks = []
    for table in (SUPERVISED, RANDOM, ALONE, SPEECH, PROBED):
        lines = [f"| {table} | steps | seeds | SI-SNRi |", "| --- | --- | --- | --- |"]
        for name, variant in VARIANTS.items():
            own = [run for run in runs if run["variant"] == name]
            if variant.table == table and own:
                values = np.array([run["scores"]["si_snri"] for run in own])
                scores = f"{values.mean():.2f} dB"
                if len(own) > 1:
                    error = values.std(ddof=1) / len(own) ** 0.5
                    each = ", ".join(f"{value:.2f}" for value in values)
                    scores = f"{values.mean():.2f} ± {error:.2f} dB ({each})"
                lines.append(f"| {variant.title} | {own[0]['steps']:,} | {len(own)} | {scores} |")
        if len(lines) > 2:
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def main() -> None:
    """Makes some trainings and writes their scores into `RESULTS`, or prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("variant", nargs="?", choices=VARIANTS)
    parser.add_argument("seeds", nargs="*", type=int)
    parser.add_argument("--data", default="", help="folders of speakers, for those of speech")
    parser.add_argument("--workdir", type=Path, help="keeps the runs, and continues them")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    if options.table:
        print(tables())
        return
    options.output.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds or [0]:
        result = measure(options.variant, seed, options.data, options.workdir)
        path = options.output / f"{options.variant}-{seed}.json"
        path.write_text(json.dumps(result, indent=2) + "\n")
        print(path.read_text())


if __name__ == "__main__":
    keep_freed_memory()
    main()
