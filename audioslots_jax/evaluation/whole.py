"""Scores a trained run on whole mixtures: ``main.py --mode=evaluate``.

They are mixtures of voices, speakers or rows that were neither trained on nor used to choose a
checkpoint, and are separated as `audioslots separate` does it, so chunks are stitched blindly.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Bool, Float32
from ml_collections import ConfigDict

from audioslots_jax import fields
from audioslots_jax import separator as separators
from audioslots_jax.data import data_sets
from audioslots_jax.data.batch import Data, DataSet, Whole, crop_samples
from audioslots_jax.data.files import write_atomically
from audioslots_jax.errors import UserError
from audioslots_jax.evaluation import counts
from audioslots_jax.evaluation.counts import Counted
from audioslots_jax.evaluation.scores import Scores, score
from audioslots_jax.inference.presence import PRESENT
from audioslots_jax.inference.recordings import RecordingSeparator, load
from audioslots_jax.progress import progress
from audioslots_jax.workdir import ROOTS, DataRecord, differences, read_data

EVALUATION = "evaluation"
Summary = dict[str, Any]
FEWEST = 2  # sources of a mixture that is scored; one alone has nothing to be separated from
# Fields that the run and the config must share.
SHARED = ("model", "stft", "eval.mask", "data.")
# Fields of the data that say where it lies, or what is scored, and not what was trained on.
MOVABLE = (*ROOTS, "test_split", "allow_missing", "workers")


def evaluate(config: ConfigDict, workdir: Path) -> Summary:
    """Returns the scores of a run's best checkpoint; ``workdir/evaluation`` will hold all of them.

    There will be ``scores.csv`` with a row per mixture of at least two sources, ``summary.json``
    with means and standard errors, and the wavs of the best, the median and the worst mixture. A
    model that counts is scored by number of sources as well; see `counts`. ``config`` is complete,
    and describes the run; it may say that the data lies elsewhere.

    Raises:
      UserError: if the run or the data cannot be used.
    """
    separator = load(workdir)
    data_set = data_sets.make(config.data)
    _require_same(separator, config, data_set, workdir)
    cut = {name: config.eval[name] for name in ("chunk_seconds", "overlap")}
    own = {**separator.config, "eval": {**separator.config.get("eval", {}), **cut}}
    separator = dataclasses.replace(separator, config=own)
    crop = crop_samples(data_set)
    record, count = read_data(workdir), config.eval.mixtures
    if record.held_out:
        require_same_recordings(record, data_set.open(record.held_out), workdir)
    fields.require(count > 0, "eval.mixtures", count, "must be at least 1")
    mixtures = data_set.open_test(record.held_out or {}, count)
    rows: list[tuple[str, Scores]] = []
    scored: list[int] = []  # numbers of the mixtures in the rows
    counted: list[Counted] = []
    for number, whole in enumerate(progress(mixtures, desc="evaluating", unit="mixture")):
        estimates, held = _separate(separator, whole)
        if separator.counts:
            counted.append(counts.count(whole, estimates, held))
        if len(whole.sources) >= FEWEST:
            rows.append((whole.name, score(whole, estimates, crop)))
            scored.append(number)
    if not rows:
        raise UserError(f"none of the {count} mixtures has {FEWEST} sources; raise eval.mixtures.")
    folder = workdir / EVALUATION
    try:
        folder.mkdir(exist_ok=True)
        _write_rows(folder / "scores.csv", rows)
        summary = _summary(separator, rows)
        if counted:
            summary |= counts.summary(counted, separator.separator.slots)
        text = json.dumps(summary, indent=2)
        write_atomically(folder / "summary.json", f"{text}\n".encode())
        ranked = np.argsort([np.mean(scores.si_snri) for _, scores in rows])
        for name, rank in {"worst": 0, "median": len(rows) // 2, "best": -1}.items():
            row = int(ranked[rank])
            _write_wavs(folder / name, separator, mixtures[scored[row]], rows[row][1])
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}).") from None
    return summary


def describe(summary: Summary, workdir: Path) -> str:
    """Returns a summary in a line."""
    counted = ""
    if "count_accuracy" in summary:
        counted = f"; the number of sources is right in {100 * summary['count_accuracy']:.1f} %"
    return (
        f"{summary['mixtures']} whole mixtures, stitched blindly: SI-SNR "
        f"{summary['si_snr']:.2f} dB, SI-SNRi {summary['si_snri']:.2f} +- "
        f"{summary['si_snri_stderr']:.2f} dB{counted}; {workdir / EVALUATION} has the rest."
    )


def _separate(
    separator: RecordingSeparator, whole: Whole
) -> tuple[Float32[np.ndarray, "slot sample"], Bool[np.ndarray, " slot"]]:
    """Returns the slots, and which are said to hold a source."""
    slots, probabilities = separator.with_presence(whole.mixture[None], separator.sample_rate)
    return slots[:, 0], probabilities >= PRESENT


def _require_same(
    separator: RecordingSeparator, config: ConfigDict, data_set: DataSet, workdir: Path
) -> None:
    """Refuses a config that describes another separator, or other data, than the run's."""
    run, asked = separator.config, config.to_dict()
    # What changes how a model is computed, not what it is, may differ.
    free = {name: run[name] for name in ("precision", "train") if name in run}
    same_model = separators.build({**asked, **free}, crop_samples(data_set)) == separator.separator
    trained = data_sets.make(run["data"])
    same_data = type(trained) is type(data_set) and (
        dataclasses.replace(trained, **{k: v for k, v in vars(data_set).items() if k in MOVABLE})  # type: ignore[type-var]
        == data_set
    )
    if not (same_model and same_data):
        ignored = {f"data.{name}" for name in (*MOVABLE, "fingerprint")}
        changed = [x for x in differences(run, asked) if x.startswith(SHARED)]
        changed = [x for x in changed if x.split()[0] not in ignored]
        raise UserError(
            f"{workdir} was made by another config, which differs in {', '.join(changed)}."
        )


def require_same_recordings(record: DataRecord, data: Data, workdir: Path) -> None:
    """Refuses other recordings than those that some were held out of for a run.

    Raises:
      UserError: if they are others.
    """
    if data.fingerprint != record.fingerprint:
        raise UserError(
            f"{workdir} was trained with other recordings than those in data.root or "
            "data.noise_root, or some have changed since; name the same ones."
        )


def _summary(separator: RecordingSeparator, rows: Sequence[tuple[str, Scores]]) -> Summary:
    summary: Summary = {"step": separator.step, "mixtures": len(rows)}
    for name in ("si_snr", "si_snri"):
        means = np.array([np.mean(getattr(scores, name)) for _, scores in rows], np.float64)
        summary[name] = float(means.mean())
        stderr = means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else 0.0
        summary[f"{name}_stderr"] = float(stderr)
    summary["swaps_per_mixture"] = float(np.mean([scores.swaps for _, scores in rows]))
    return summary


def _write_rows(path: Path, rows: Sequence[tuple[str, Scores]]) -> None:
    most = max(len(scores.si_snr) for _, scores in rows)
    sources = range(1, most + 1)
    header = ["mixture_id", *(f"si_snr_{i}" for i in sources), *(f"si_snri_{i}" for i in sources)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, "permutation", "swaps"])
    for name, scores in rows:
        missing = [""] * (most - len(scores.si_snr))
        numbers = [f"{value:.4f}" for value in scores.si_snr] + missing
        numbers += [f"{value:.4f}" for value in scores.si_snri] + missing
        permutation = " ".join(str(slot + 1) for slot in scores.permutation)
        writer.writerow([name, *numbers, permutation, scores.swaps])
    write_atomically(path, text.getvalue().encode())


def _write_wavs(folder: Path, separator: RecordingSeparator, whole: Whole, scores: Scores) -> None:
    estimates = _separate(separator, whole)[0][scores.permutation]
    sounds = {"mixture": whole.mixture}
    for i, (source, estimate) in enumerate(zip(whole.sources, estimates, strict=True), start=1):
        sounds |= {f"source_{i}": source, f"estimate_{i}": estimate}
    folder.mkdir(exist_ok=True)
    # An earlier evaluation's mixture may have had more sources than this one.
    for earlier in (*folder.glob("source_*.wav"), *folder.glob("estimate_*.wav")):
        earlier.unlink()
    for name, sound in sounds.items():
        soundfile.write(folder / f"{name}.wav", sound, separator.sample_rate, subtype="FLOAT")
