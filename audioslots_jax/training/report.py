"""What a run shows and leaves behind: progress, metrics, events, pictures, wavs and a table."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
import soundfile
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from audioslots_jax.data.files import write_atomically
from audioslots_jax.progress import progress
from audioslots_jax.training import pictures
from audioslots_jax.training.evaluation import Separated
from audioslots_jax.training.state import TrainState
from audioslots_jax.training.tensorboard import open_events
from audioslots_jax.training.workdir import MetricsFile


class Silence:
    """The report of a process that leaves reporting to the first one."""

    def __enter__(self) -> "Silence":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def progress(self, loss: float) -> None:
        """A step is done."""

    def train(
        self, step: int, values: Mapping[str, float], throughput: Mapping[str, float]
    ) -> None:
        """Means over the steps since the last call, and how fast they were."""

    def evaluation(self, step: int, scores: Mapping[str, float], separated: Separated) -> None:
        """Scores and examples of held-out mixtures."""

    def sync(self) -> None:
        """Returns when all metrics so far are on disk."""

    def finish(self, scores: Mapping[str, float], separated: Separated) -> None:
        """Leaves the wavs and tells the scores."""


class Report(Silence):
    """The reporting side of the training loop; use it as a context."""

    def __init__(self, workdir: Path, config: ConfigDict, state: TrainState):
        """Starts reporting at ``state``, after the steps that are already in ``workdir``."""
        self._workdir, self._config = workdir, config
        done = int(state.step)
        parameters = sum(x.size for x in jax.tree.leaves(state.params))
        devices = f"{jax.device_count()} {jax.devices()[0].platform} device(s)"
        if jax.process_count() > 1:
            devices += f" of {jax.process_count()} processes"
        origin = f"continuing after step {done}" if done else f"seed {config.seed}"
        print(f"{workdir}: {parameters:,} parameters, {devices}, {origin}")
        self._metrics = MetricsFile(workdir / "metrics.jsonl", resumed_at=done)
        self._speed = MetricsFile(workdir / "speed.jsonl", resumed_at=done)
        self._events = open_events(workdir)
        self._bar = progress(
            total=config.train.steps,
            initial=done,
            unit="step",
            dynamic_ncols=True,
        )
        self._shown = {"loss": "-", "SI-SNRi": "-"}

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        self._events.close()
        self._metrics.close()
        self._speed.close()

    def progress(self, loss: float) -> None:
        """A step is done."""
        self._shown["loss"] = f"{loss:.4f}"
        self._bar.set_postfix(self._shown, refresh=False)
        self._bar.update()

    def train(
        self, step: int, values: Mapping[str, float], throughput: Mapping[str, float]
    ) -> None:
        """Means over the steps since the last call, and how fast they were."""
        named = {f"train/{name}": value for name, value in values.items()}
        self._metrics.write(step, named)
        by_clock = {f"speed/{name}": value for name, value in throughput.items()}
        self._speed.write(step, by_clock)
        self._events.scalars(step, {**named, **by_clock})

    def evaluation(self, step: int, scores: Mapping[str, float], separated: Separated) -> None:
        """Scores and examples of held-out mixtures."""
        named = {f"eval/{name}": value for name, value in scores.items()}
        self._metrics.write(step, named)
        self._shown["SI-SNRi"] = f"{main_scores(scores)[1]:.2f} dB"
        self._events.scalars(step, named)
        figure = self._picture(separated)
        if figure is not None:
            png = pictures.png(figure)
            self._events.picture(step, "separated", pictures.pixels(png))
            write_atomically(self._workdir / "separated.png", png)
        for number, sounds in self._examples(separated):
            named_sounds = {f"{number}/{name}": sound for name, sound in sounds.items()}
            self._events.audio(step, named_sounds, self._config.data.sample_rate)

    def sync(self) -> None:
        """Returns when all metrics so far are on disk."""
        self._metrics.sync()
        self._events.flush()

    def finish(self, scores: Mapping[str, float], separated: Separated) -> None:
        """Leaves the wavs and tells the scores."""
        self._bar.close()
        for number, sounds in self._examples(separated):
            folder = self._workdir / "separated" / number
            folder.mkdir(parents=True, exist_ok=True)
            for name, sound in sounds.items():
                path = folder / f"{name}.wav"
                soundfile.write(path, sound, self._config.data.sample_rate, subtype="FLOAT")
        print(self._table(scores))

    def _picture(self, separated: Separated) -> Figure | None:
        count = self._config.eval.examples
        if not count:
            return None
        return pictures.draw(
            np.asarray(separated.mixture_spectrogram[:count]),
            np.asarray(separated.source_spectrograms[:count]),
            {"estimate": np.asarray(separated.estimated_spectrograms[:count])},
            crop_seconds=self._config.data.crop_seconds,
            sample_rate=self._config.data.sample_rate,
        )

    def _examples(self, separated: Separated) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """The first held-out mixtures: a number and the waveforms by name."""
        waveforms = (separated.mixture, separated.sources, separated.estimates)
        examples = zip(*map(np.asarray, waveforms), strict=True)
        for number, (mixture, sources, estimates) in enumerate(examples, start=1):
            if number > self._config.eval.examples:
                return
            sounds = {"mixture": mixture}
            for i, (source, estimate) in enumerate(zip(sources, estimates, strict=True), start=1):
                sounds |= {f"source_{i}": source, f"estimate_{i}": estimate}
            yield str(number), sounds

    def _table(self, scores: Mapping[str, float]) -> str:
        data, model = self._config.data, self._config.model
        title = f"held-out {data.kind}, {self._config.eval.mixtures} x {data.crop_seconds:g} s"
        rows = [
            ("autoencoder masks" if model.slots == 1 else "model", *main_scores(scores)),
            ("oracle masks", scores["oracle_si_snr"], scores["oracle_si_snri"]),
        ]
        lines = [f"{title:<32} SI-SNR    SI-SNRi"]
        lines += [f"{name:<32} {snr:6.2f} dB {snri:6.2f} dB" for name, snr, snri in rows]
        return "\n".join(lines)


def open_report(workdir: Path, config: ConfigDict, state: TrainState) -> Silence:
    """The report of this process: only the first one writes."""
    return Report(workdir, config, state) if jax.process_index() == 0 else Silence()


def main_scores(scores: Mapping[str, float]) -> tuple[float, float]:
    """The model's mean SI-SNR and SI-SNRi, whatever kind of model it is."""
    prefix = "" if "si_snri" in scores else "autoencoder_"
    return scores[f"{prefix}si_snr"], scores[f"{prefix}si_snri"]
