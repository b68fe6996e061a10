"""How fast recordings are separated: ``python experiments/separation_speed/run.py``.

Each measurement is a process of its own, so that its memory is too. Asteroid's Conv-TasNet (random
weights; it is what many users come from) takes turns with our model, if it is installed.
"""

import argparse
import dataclasses
import importlib.util
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

if TYPE_CHECKING:
    from audioslots_jax.inference import RecordingSeparator

sys.path.insert(0, str(Path(__file__).parents[2]))

MINUTE, LONG = 60, 7200  # seconds


def main() -> None:
    """Prints and writes the table, or makes one measurement of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", help="a run of main.py; the package's model by default")
    parser.add_argument("--chunk-seconds", type=float, help="in place of the model's own")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=LONG, help="seconds of the long recording")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    parser.add_argument("--name", default="speed", help="of the file")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(*{"ours": ours, "conv-tasnet": conv_tasnet, "long": long}[options.only](options))
        return
    contenders = ["ours", "conv-tasnet"]
    if importlib.util.find_spec("asteroid") is None:
        print("without asteroid, which is not installed, Conv-TasNet is missing\n")
        contenders.remove("conv-tasnet")
    measured: dict[str, list[list[float]]] = {}
    for _ in range(options.rounds):
        for contender in contenders:
            measured.setdefault(f"{contender}, 60 s", []).append(run(options, contender))
    measured[f"ours, {options.long} s"] = [run(options, "long")]
    lines = ["| | times faster than real time | resident at most |", "| --- | --- | --- |"]
    for name, values in measured.items():
        speed, memory = (statistics.median(column) for column in zip(*values, strict=True))
        lines.append(f"| {name} | {speed:.1f} | {memory:.0f} MB |")
    print("\n".join(lines))
    options.output.mkdir(exist_ok=True)
    (options.output / f"{options.name}.md").write_text("\n".join(lines) + "\n")


def run(options: argparse.Namespace, what: str) -> list[float]:
    """Returns what a process of its own prints: times real time, and megabytes."""
    command = [sys.executable, __file__, f"--only={what}"]
    command += [f"--workdir={options.workdir}"] if options.workdir else []
    command += [f"--chunk-seconds={options.chunk_seconds}"] if options.chunk_seconds else []
    result = subprocess.run(
        [*command, f"--long={options.long}"], text=True, check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return [float(number) for number in result.stdout.split()]


def load(options: argparse.Namespace) -> "RecordingSeparator":
    """Returns the model, which reads chunks of the length that is asked for."""
    import audioslots_jax

    separator = audioslots_jax.load(options.workdir)
    if not options.chunk_seconds:
        return separator
    cut = {**separator.config["eval"], "chunk_seconds": options.chunk_seconds}
    return dataclasses.replace(separator, config={**separator.config, "eval": cut})


def ours(options: argparse.Namespace) -> tuple[float, float]:
    """Times a minute in memory, after a first one that compiles."""
    separator = load(options)
    recording = noise(MINUTE * separator.sample_rate)
    separator(recording, separator.sample_rate)
    started = time.perf_counter()
    separator(recording, separator.sample_rate)
    return MINUTE / (time.perf_counter() - started), megabytes()


def long(options: argparse.Namespace) -> tuple[float, float]:
    """Times a long file, from disk to disk, after a minute that compiles."""
    from audioslots_jax.inference.files import separate_file

    separator = load(options)
    rate = separator.sample_rate
    with tempfile.TemporaryDirectory() as folder:
        slots = range(separator.separator.slots)
        path, outputs = Path(folder, "long.wav"), [Path(folder, f"{i}.wav") for i in slots]
        with soundfile.SoundFile(path, "w", rate, 1) as file:
            for minute in minutes(options.long, rate):
                file.write(minute)
        separator(noise(MINUTE * rate), rate)
        started = time.perf_counter()
        separate_file(separator, path, outputs, mix_down=True)
        return options.long / (time.perf_counter() - started), megabytes()


def conv_tasnet(options: argparse.Namespace) -> tuple[float, float]:
    """Times a minute through Asteroid's network of the usual size, at the run's sampling rate."""
    import torch
    from asteroid.models import ConvTasNet

    import audioslots_jax

    rate = audioslots_jax.load(options.workdir).sample_rate
    network = ConvTasNet(n_src=2, sample_rate=rate).eval()
    recording = torch.from_numpy(noise(MINUTE * rate))[None]
    with torch.no_grad():
        network(recording[:, :rate])
        started = time.perf_counter()
        network(recording)
    return MINUTE / (time.perf_counter() - started), megabytes()


def minutes(seconds: int, rate: int) -> Iterator[np.ndarray]:
    """Yields blocks of a minute, or less at the end."""
    for start in range(0, seconds, MINUTE):
        yield noise(min(MINUTE, seconds - start) * rate)


def noise(samples: int) -> np.ndarray:
    """Returns as much work as any recording."""
    return np.random.default_rng(0).normal(0, 0.05, samples).astype(np.float32)


def megabytes() -> float:
    """Returns the most that was resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
