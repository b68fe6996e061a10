"""What a run shows and leaves behind: progress, metrics, events, pictures, wavs and a table."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import soundfile
from ml_collections import ConfigDict

from audioslots_jax.data.files import write_atomically
from audioslots_jax.progress import progress
from audioslots_jax.reports import pictures
from audioslots_jax.reports.examples import Examples
from audioslots_jax.reports.metrics_file import MetricsFile
from audioslots_jax.reports.tensorboard import Nothing, describe, histograms, open_events

Scores = Mapping[str, float]


class Report:
    """The reporting side of the training loop; use it as a context."""

    def __init__(self, workdir: Path, config: ConfigDict, done: int, parameters: int):
        """Starts reporting after ``done`` steps, whose lines are already in ``workdir``."""
        self._workdir, self._config = workdir, config
        self._count = int(config.eval.examples)
        devices = f"{jax.device_count()} {jax.devices()[0].platform} device(s)"
        if jax.process_count() > 1:
            devices += f" of {jax.process_count()} processes"
        origin = f"continuing after step {done}" if done else f"seed {config.seed}"
        print(f"{workdir}: {parameters:,} parameters, {devices}, {origin}")
        self._metrics = MetricsFile(workdir / "metrics.jsonl", resumed_at=done)
        self._speed = MetricsFile(workdir / "speed.jsonl", resumed_at=done)
        self._events = open_events(workdir)
        if not done:
            describe(self._events, config)
        total = config.train.steps
        self._bar = progress(total=total, initial=done, unit="step", dynamic_ncols=True)
        self._shown = {"loss": "-"}

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        self._events.close()
        self._metrics.close()
        self._speed.close()

    def progress(self, loss: float) -> None:
        """Counts a step that is done."""
        self._shown["loss"] = f"{loss:.4f}"
        self._bar.set_postfix(self._shown, refresh=False)
        self._bar.update()

    def train(self, step: int, values: Scores, throughput: Scores) -> None:
        """Shows means over the steps since the last call, and how fast they were."""
        named = {f"train/{name}": value for name, value in values.items()}
        self._metrics.write(step, named)
        by_clock = {f"speed/{name}": value for name, value in throughput.items()}
        self._speed.write(step, by_clock)
        self._events.write_scalars(step, {**named, **by_clock})

    def evaluation(self, step: int, scores: Scores, examples: Examples | None) -> None:
        """Shows scores of held-out mixtures, the leading one first, and examples."""
        named = {f"eval/{name}": value for name, value in scores.items()}
        self._metrics.write(step, named)
        name, value = next(iter(scores.items()))
        self._shown[name] = f"{value:.2f}"
        self._events.write_scalars(step, named)
        if examples is not None and self._count:
            figure = pictures.draw(
                np.asarray(examples.mixture_spectrogram[: self._count]),
                np.asarray(examples.source_spectrograms[: self._count]),
                {"estimate": np.asarray(examples.estimated_spectrograms[: self._count])},
                crop_seconds=self._config.data.crop_seconds,
                sample_rate=self._config.data.sample_rate,
            )
            png = pictures.png(figure)
            self._events.write_images(step, {"separated": pictures.pixels(png)[None]})
            write_atomically(self._workdir / "separated.png", png)
            self._events.write_histograms(step, histograms(examples))
        for number, sounds in self._sounds(examples):
            clipped = {
                f"mixture_{number}/{n}": np.clip(x, -1, 1)[None, :, None] for n, x in sounds.items()
            }
            self._events.write_audios(step, clipped, sample_rate=self._config.data.sample_rate)

    def sync(self) -> None:
        """Returns when all metrics so far are on disk."""
        self._metrics.sync()
        self._events.flush()

    def finish(self, scores: Scores, examples: Examples | None) -> None:
        """Leaves the wavs and prints the scores."""
        self._bar.close()
        for number, sounds in self._sounds(examples):
            folder = self._workdir / "separated" / number
            folder.mkdir(parents=True, exist_ok=True)
            for name, sound in sounds.items():
                path = folder / f"{name}.wav"
                soundfile.write(path, sound, self._config.data.sample_rate, subtype="FLOAT")
        data, mixtures = self._config.data, self._config.eval.mixtures
        print(f"held-out {data.kind}, {mixtures} x {data.crop_seconds:g} s")
        for name, value in scores.items():
            print(f"  {name:<24}{value:8.3f}")

    def _sounds(self, examples: Examples | None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Yields of the first held-out mixtures a number and the waveforms by name."""
        if examples is None:
            return
        waveforms = (examples.mixture, examples.sources, examples.estimates)
        each = zip(*(np.asarray(x[: self._count]) for x in waveforms), strict=True)
        for number, (mixture, sources, estimates) in enumerate(each, start=1):
            sounds = {"mixture": mixture}
            for i, (source, estimate) in enumerate(zip(sources, estimates, strict=True), start=1):
                sounds |= {f"source_{i}": source, f"estimate_{i}": estimate}
            yield str(number), sounds


def open_report(workdir: Path, config: ConfigDict, done: int, params: Any) -> Report | Nothing:
    """Returns the report of this process after ``done`` steps: only the first one writes."""
    if jax.process_index() > 0:
        return Nothing()
    parameters = sum(x.size for x in jax.tree.leaves(params))
    return Report(workdir, config, done, parameters)
