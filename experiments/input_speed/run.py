"""How fast training crops of Libri2Mix come, and what they cost in memory.

    python experiments/input_speed/run.py --root=ROOT

``ROOT`` holds ``LibriSpeech/`` and ``metadata/Libri2Mix/``; without it noise takes the place of
speech. Every contender runs in a process of its own, in turns, on the same utterances.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[2]))

from audioslots_jax.data import pipeline, prepare, store
from audioslots_jax.data.batch import Batch, Mixtures
from audioslots_jax.data.libri2mix import SPLITS, Libri2Mix, metadata_path
from audioslots_jax.data.libri2mix_crops import DynamicMixing, OfficialMixing

SPLIT, SAMPLES, BATCH = "train-100", 8000, 64
CONTENDERS = {
    "store, tf.data": "official pairs from the store, tf.data",
    "store, threads": "official pairs from the store, without TensorFlow",
    "store, dynamic": "dynamic mixing from the store, tf.data",
    "files, tf.data": "official pairs from FLAC files, tf.data",
    "wav, torch": "pre-mixed wav files, torch DataLoader with 2 workers",
}
HOURS = (10, 100, 1000)
READ = 500  # batches, after which memory is measured


def main() -> None:
    """Runs the benchmark, or one contender of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, help="LibriSpeech and metadata (default: noise)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(measure(options.only, options.root, options.scratch, options.seconds))
        return
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        for line in compare(options, Path(scratch)):
            print(line, flush=True)
            lines.append(line)
    results = Path(__file__).with_name("results")
    results.mkdir(exist_ok=True)
    (results / "cpu.md").write_text("\n".join(lines) + "\n")


def compare(options: argparse.Namespace, scratch: Path) -> Iterator[str]:
    """Yields the lines of the tables."""
    root = options.root or write_noise(scratch / "noise")
    seconds = audio_seconds(root)
    started = time.perf_counter()
    prepare.prepare(root, scratch / "store", 16000)
    speed = seconds / (time.perf_counter() - started)
    yield f"prepare: {speed:,.0f} x real time ({seconds / 60:.0f} min of FLAC)\n"

    contenders = list(CONTENDERS)
    if importlib.util.find_spec("torch") is None:
        yield "without torch, which is not installed, the last contender is missing\n"
        contenders.remove("wav, torch")
    else:
        from asteroid_style import write_mixtures

        write_mixtures(Libri2Mix(root, SPLIT), scratch / "wav")
    rates: dict[str, list[float]] = {contender: [] for contender in contenders}
    for _ in range(options.rounds):
        for contender in contenders:
            rates[contender].append(float(run(contender, root, scratch, options.seconds)))
    yield "| crops per second | median | lowest to highest | times the last |"
    yield "| --- | --- | --- | --- |"
    for contender, own in rates.items():
        ratios = [one / other for one, other in zip(own, rates[contenders[-1]], strict=True)]
        yield (
            f"| {CONTENDERS[contender]} | {statistics.median(own):,.0f} "
            f"| {min(own):,.0f} to {max(own):,.0f} | {statistics.median(ratios):.1f} |"
        )
    start = run("start", root, scratch, options.seconds)
    yield f"\nfirst batch of a stream that starts at step 10 million: {float(start):.3f} s\n"
    yield f"| store | size | resident after {READ} batches | of it, per process memory |"
    yield "| --- | --- | --- | --- |"
    for hours in HOURS:
        write_sparse_store(scratch / f"sparse{hours}", hours)
        resident, private = run(f"memory {hours}", root, scratch, options.seconds).split()
        size = hours * 3600 * 16000 * 2 / 1e9
        yield f"| {hours:,} h | {size:,.1f} GB | {resident} MB | {private} MB |"


def run(contender: str, root: Path, scratch: Path, seconds: float) -> str:
    """Returns what a process of its own prints for a contender."""
    command = [sys.executable, __file__, f"--only={contender}", f"--root={root}"]
    command += [f"--scratch={scratch}", f"--seconds={seconds}"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}
    result = subprocess.run(
        command, env=environment, text=True, check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return result.stdout.strip()


def measure(contender: str, root: Path, scratch: Path, seconds: float) -> str:
    """Returns crops per second; seconds to a batch; or megabytes, resident and private."""
    if contender.startswith("memory"):
        batches = ours(dynamic(scratch / f"sparse{contender.split()[1]}"), pipeline.by_tf_data, 1)
        for _ in range(READ):
            next(batches)
        status = Path("/proc/self/status").read_text().splitlines()
        sizes = dict(
            line.split(":") for line in status if line.startswith("Rss") or "VmRSS" in line
        )
        return " ".join(f"{int(sizes[key].split()[0]) / 1e3:.0f}" for key in ("VmRSS", "RssAnon"))
    if contender == "start":
        next(ours(official(scratch / "store"), pipeline.by_tf_data, 1))  # imports TensorFlow
        started = time.perf_counter()
        next(ours(official(scratch / "store"), pipeline.by_tf_data, 10_000_000))
        return f"{time.perf_counter() - started:.4f}"
    if contender == "wav, torch":
        import asteroid_style

        files = sorted((scratch / "wav").glob("*-mixture.wav"))
        rows = [
            (path, *(path.with_name(path.name.replace("mixture", s)) for s in ("s1", "s2")),
             soundfile.info(path).frames)
            for path in files
        ]  # fmt: skip
        batches = asteroid_style.stream(rows, SAMPLES, BATCH, batches=10**6)
    elif contender == "store, dynamic":
        batches = ours(dynamic(scratch / "store"), pipeline.by_tf_data, 1)
    else:
        where, how = contender.split(", ")
        way = {"tf.data": pipeline.by_tf_data, "threads": pipeline.by_threads}[how]
        batches = ours(official(scratch / "store" if where == "store" else root), way, 1)
    for _ in range(20):
        next(batches)
    started, count = time.perf_counter(), 0
    while time.perf_counter() < started + seconds:
        next(batches)
        count += 1
    return f"{count * BATCH / (time.perf_counter() - started):.1f}"


def official(root: Path) -> Mixtures:
    """Returns mixtures as configs/paper.py trains on."""
    return OfficialMixing(Libri2Mix(root, SPLIT, "max"), samples=SAMPLES)


def dynamic(path: Path) -> Mixtures:
    """Returns new pairs of all utterances of a store's training split."""
    opened = store.open_store(path)
    subset = np.char.startswith(opened.table["name"], SPLITS[SPLIT].encode())
    return DynamicMixing(opened.select(np.flatnonzero(subset)), samples=SAMPLES)


def ours(mixtures: Mixtures, way: Callable[..., Iterator[Batch]], start: int) -> Iterator[Batch]:
    """Returns the batches of this project's pipeline, with two workers."""
    return way(lambda step: mixtures.batch(0, step, range(BATCH), BATCH), range(start, 2**62), 2)


def audio_seconds(root: Path) -> float:
    """Returns how many seconds the recordings under a folder play."""
    files = (root / "LibriSpeech").rglob("*.flac")
    return sum(soundfile.info(path).duration for path in files)


def write_noise(root: Path) -> Path:
    """Writes forty utterances of 12 s of noise, and metadata that pairs them; returns ``root``."""
    random = np.random.default_rng(0)
    subset = SPLITS[SPLIT]
    lines = ["mixture_ID,source_1_path,source_1_gain,source_2_path,source_2_gain"]
    names = [f"{subset}/{i % 8}/1/{i}.flac" for i in range(40)]
    for i, name in enumerate(names):
        path = root / "LibriSpeech" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, random.normal(0, 0.05, 12 * 16000), 16000)
        lines.append(f"{i},{name},0.9,{names[(i + 1) % 40]},1.1")
    metadata_path(root, SPLIT).parent.mkdir(parents=True)
    metadata_path(root, SPLIT).write_text("\n".join(lines) + "\n")
    return root


def write_sparse_store(path: Path, hours: int, part_hours: int = 5) -> None:
    """Writes a store of utterances of 12 s that takes no space on disk."""
    path.mkdir()
    frames, per_hour = 12 * 16000, 300
    files = {}
    for number in range(-(-hours // part_hours)):
        count = min(part_hours, hours - number * part_hours) * per_hour
        table = np.zeros(count, store.utterance_dtype(48, 4))
        first = number * part_hours * per_hour
        names = [
            f"{SPLITS[SPLIT]}/{i // 113:04d}/{i:09d}.flac" for i in range(first, first + count)
        ]
        table["name"], table["speaker"] = names, [name.split("/")[1] for name in names]
        table["part"], table["start"], table["frames"] = number, frames * np.arange(count), frames
        table["scale"], table["peak"], table["loudness"] = 2**-15, 0.5, -25.0
        stem = path / f"part-{number:05d}"
        np.save(stem.with_suffix(".npy"), table)
        with open(stem.with_suffix(".pcm"), "wb") as file:
            file.truncate(count * frames * 2)
        for suffix in (".npy", ".pcm"):
            name = stem.with_suffix(suffix).name
            files[name] = {"bytes": (path / name).stat().st_size, "sha256": "of nothing"}
    store.write_index(path, 16000, [], files)
    store.remember(path, files)


if __name__ == "__main__":
    main()
