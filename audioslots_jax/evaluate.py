"""Scores a trained run on whole mixtures: ``main.py --mode=evaluate``.

Mixtures last 10 s, as in the paper (section 3): of Libri2Mix the official ones of
``data.eval_split`` (mode "max", cut or padded), else ``eval.mixtures`` mixtures of held-out voices
or speakers. They are separated as `audioslots separate` does it, so chunks are stitched blindly.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import soundfile
from jaxtyping import Array, Float, Float32
from ml_collections import ConfigDict

from audioslots_jax.audio import split
from audioslots_jax.data import Libri2Mix, open_data
from audioslots_jax.data.files import write_atomically
from audioslots_jax.data.mixing import INSTANCE_SECONDS
from audioslots_jax.data.mixtures import HELD_OUT_SEED
from audioslots_jax.errors import UserError
from audioslots_jax.progress import progress
from audioslots_jax.scoring import Scores, compare
from audioslots_jax.separation import Separator, load
from audioslots_jax.training.config import check, differences

EVALUATION = "evaluation"


def evaluate(config: ConfigDict, workdir: Path) -> dict[str, float]:
    """Scores the best checkpoint of a run, and leaves the results in ``workdir/evaluation``.

    There will be ``scores.csv`` with a row per mixture, ``summary.json`` with means and standard
    errors, and the wavs of the best, the median and the worst mixture.

    Args:
      config: whose data is used; its model must be the run's.
      workdir: the run.

    Returns:
      The summary.

    Raises:
      UserError: if the run or the data cannot be used.
    """
    check(config)
    separator = load(workdir)
    if other := [
        difference
        for difference in differences(separator.config, config)
        if difference.startswith(("model", "stft", "data.sample_rate"))
    ]:
        raise UserError(
            f"{workdir} was made by another config, which differs in {', '.join(other)}."
        )
    mixtures = _mixtures(config)
    score = jax.jit(_score, static_argnums=2)
    rows: list[tuple[str, Scores]] = []
    for name in progress(mixtures.names, desc="evaluating", unit="mixture"):
        sources = mixtures.sources(len(rows))
        estimates = separator(sources.sum(axis=0), separator.sample_rate)
        rows.append((name, jax.device_get(score(sources, estimates, separator.chunk))))
    folder = workdir / EVALUATION
    try:
        folder.mkdir(exist_ok=True)
        _write_rows(folder / "scores.csv", rows)
        summary = _summary(separator, rows)
        text = json.dumps(summary, indent=2)
        write_atomically(folder / "summary.json", f"{text}\n".encode())
        ranked = np.argsort([np.mean(scores.si_snri) for _, scores in rows])
        places = {"worst": 0, "median": len(rows) // 2, "best": -1}
        for word, place in places.items():
            number = int(ranked[place])
            _write_wavs(folder / word, separator, mixtures.sources(number), rows[number][1])
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}).") from None
    return summary


def describe(summary: dict[str, float], workdir: Path) -> str:
    """A summary in a line."""
    return (
        f"{summary['mixtures']} mixtures of {INSTANCE_SECONDS:g} s, stitched blindly: SI-SNR "
        f"{summary['si_snr']:.2f} dB, SI-SNRi {summary['si_snri']:.2f} +- "
        f"{summary['si_snri_stderr']:.2f} dB; {workdir / EVALUATION} has the rest."
    )


def _score(
    sources: Float[Array, "source sample"], estimates: Float[Array, "source sample"], chunk: int
) -> Scores:
    """Scores of a whole mixture, whose swaps are counted in chunks of ``chunk`` samples."""
    pieces = (jnp.swapaxes(split(x, chunk, chunk), 0, 1) for x in (sources, estimates))
    return compare(sources, estimates, *pieces)


class _Mixtures(NamedTuple):
    """Whole mixtures: their names, and the sources of each."""

    names: list[str]
    sources: Callable[[int], Float32[np.ndarray, "source sample"]]


def _mixtures(config: ConfigDict) -> _Mixtures:
    if config.data.kind == "libri2mix":
        official = Libri2Mix(
            config.data.root, config.data.eval_split, "max",
            seconds=INSTANCE_SECONDS, allow_missing=config.data.allow_missing,
        )  # fmt: skip
        return _Mixtures(
            [row.mixture_id for row in official.rows], lambda index: official[index].sources
        )
    config = config.copy_and_resolve_references()
    config.data.crop_seconds = INSTANCE_SECONDS
    held_out = open_data(config.data).held_out
    return _Mixtures(
        [f"{config.data.kind}-{number}" for number in range(config.eval.mixtures)],
        lambda index: held_out.batch(HELD_OUT_SEED, index, range(1), 1)[0],
    )


def _summary(separator: Separator, rows: Sequence[tuple[str, Scores]]) -> dict[str, float]:
    summary: dict[str, float] = {"step": separator.step, "mixtures": len(rows)}
    for field in ("si_snr", "si_snri"):
        means = np.array([np.mean(getattr(scores, field)) for _, scores in rows], np.float64)
        summary[field] = float(means.mean())
        summary[f"{field}_stderr"] = (
            float(means.std(ddof=1) / len(means) ** 0.5) if means[1:].size else 0.0
        )
    summary["swaps_per_mixture"] = float(np.mean([scores.swaps for _, scores in rows]))
    return summary


def _write_rows(path: Path, rows: Sequence[tuple[str, Scores]]) -> None:
    sources = range(1, len(rows[0][1].si_snr) + 1)
    header = ["mixture_id", *(f"si_snr_{i}" for i in sources), *(f"si_snri_{i}" for i in sources)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, "permutation", "swaps"])
    for name, scores in rows:
        numbers = [f"{value:.4f}" for value in (*scores.si_snr, *scores.si_snri)]
        permutation = " ".join(str(slot + 1) for slot in scores.permutation)
        writer.writerow([name, *numbers, permutation, int(scores.swaps)])
    write_atomically(path, text.getvalue().encode())


def _write_wavs(folder: Path, separator: Separator, sources: np.ndarray, scores: Scores) -> None:
    mixture = sources.sum(axis=0)
    estimates = np.asarray(separator(mixture, separator.sample_rate))[scores.permutation]
    sounds = {"mixture": mixture}
    for i, (source, estimate) in enumerate(zip(sources, estimates, strict=True), start=1):
        sounds |= {f"source_{i}": source, f"estimate_{i}": estimate}
    folder.mkdir(exist_ok=True)
    for name, sound in sounds.items():
        soundfile.write(folder / f"{name}.wav", sound, separator.sample_rate, subtype="FLOAT")
