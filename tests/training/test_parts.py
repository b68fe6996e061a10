"""Encoder, decoder, objective, data set and evaluator of one's own: one class, one line each."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from jaxtyping import Array, Float

import audioslots_jax
from audioslots_jax import UserError
from audioslots_jax.data.batch import Batch, Data, RowByRow, Whole
from audioslots_jax.data.data_sets import DATA_SETS
from audioslots_jax.evaluation.evaluators import EVALUATORS, Evaluation
from audioslots_jax.evaluation.whole import evaluate
from audioslots_jax.models import Features, Masks, centres
from audioslots_jax.models.decoders import DECODERS
from audioslots_jax.models.encoders import ENCODERS
from audioslots_jax.objectives import OBJECTIVES
from audioslots_jax.training.loop import train


class Bands(nn.Module):
    """An encoder: one dense layer on the real and imaginary parts of every frame."""

    width: int = 8

    @nn.compact
    def __call__(self, mixture):
        frames = jnp.swapaxes(jnp.concatenate([mixture.real, mixture.imag], axis=1), 1, 2)
        grid = nn.relu(nn.Dense(self.width)(frames))[:, None]
        return Features(grid, centres(mixture.shape[2]), {"frames": grid[:, 0]})


class Gates(nn.Module):
    """A decoder: complex masks from slots and the encoder's frames."""

    width: int = 8

    @nn.compact
    def __call__(self, slots, size, features):
        gate = nn.Dense(self.width)(slots)[:, :, None]
        hidden = nn.relu(gate * nn.Dense(self.width)(features.named["frames"])[:, None])
        parts = jnp.swapaxes(nn.Dense(2 * size[0])(hidden), 2, 3)
        real, imaginary = jnp.split(parts, 2, axis=2)
        return Masks(jax.lax.complex(real + 0.5, imaginary))


@dataclasses.dataclass(frozen=True)
class Absolute:
    """An objective: the mean absolute difference from any order, not matched at all."""

    front_end: object
    power: float = 1.0

    def __call__(self, estimates, batch, assign) -> Float[Array, " batch"]:
        difference = batch.sources.sum(axis=1) - estimates.waveforms.sum(axis=1)
        return jnp.mean(jnp.abs(difference) ** self.power, axis=1)


@dataclasses.dataclass(frozen=True)
class Tones(RowByRow):
    """A data set: a low and a high tone, in noise that belongs to neither."""

    sample_rate: int = 8000
    crop_seconds: float = 0.12
    sources: int = 2
    workers: int = 1
    noise: float = 0.01

    def problems(self):
        if not 0 <= self.noise < 1:
            yield "noise", "must be from 0 to below 1"

    def example(self, seed, step, row, seconds=None):
        random = np.random.default_rng((seed, step, row))
        samples = round((seconds or self.crop_seconds) * self.sample_rate)
        time = np.arange(samples) / self.sample_rate
        pitches = random.uniform([300, 1500], [600, 3000])[:, None]
        return (0.1 * np.sin(2 * np.pi * pitches * time)).astype(np.float32)

    def batch(self, seed, step, rows, batch_size):
        batch = super().batch(seed, step, rows, batch_size)
        random = np.random.default_rng((seed, step, rows.start))
        noise = self.noise * random.normal(size=batch.mixture.shape)
        return batch._replace(mixture=batch.mixture + noise.astype(np.float32))

    def open(self, held_out=None):
        return Data(self, self, {}, "tones")

    def open_test(self, held_out, count):
        each = [self.example(9, number, 0, seconds=1.0) for number in range(count)]
        return [Whole(f"tones-{i}", x.sum(axis=0), x) for i, x in enumerate(each)]


@dataclasses.dataclass(frozen=True)
class Loudness:
    """An evaluator: the level of the estimates over that of the mixture."""

    separator: object
    objectives: object
    scores: ClassVar = ("loudness",)

    def __call__(self, params, batch: Batch):
        total = self.separator(params, batch.mixture).waveforms.sum(axis=1)
        ratio = jnp.square(total).sum(axis=1) / jnp.square(batch.mixture).sum(axis=1)
        return Evaluation((ratio,))


@pytest.fixture
def own(tiny, monkeypatch):
    """A config of these parts, which are registered as long as the test runs."""
    monkeypatch.setitem(ENCODERS, "bands", Bands)
    monkeypatch.setitem(DECODERS, "gates", Gates)
    monkeypatch.setitem(OBJECTIVES, "absolute", Absolute)
    monkeypatch.setitem(DATA_SETS, "tones", Tones)
    monkeypatch.setitem(EVALUATORS, "loudness", Loudness)
    tiny.data = {"kind": "tones", "noise": 0.02}
    tiny.model.encoder = {"name": "bands", "width": 16}
    tiny.model.decoder = {"name": "gates"}
    tiny.objectives = {"matched_snr": {}, "absolute": {"weight": 0.1, "power": 2.0}}
    tiny.optimizer = {"name": "muon"}
    tiny.eval.evaluators = ("loudness", "separation")
    tiny.train.update(steps=100, learning_rate=0.2)
    tiny.train.update(eval_every=50, log_every=10, checkpoint_every=50)
    return tiny


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning")
def test_parts_of_ones_own_train_separate_and_are_scored(own, tmp_path):
    scores = train(own, tmp_path)
    assert list(scores) == ["loudness", "si_snri", "si_snr", "loss"]
    assert scores["loss"] < -5  # dB; it starts at -2.6
    # And through every other door.
    separator = audioslots_jax.load(tmp_path)
    [whole, *_] = Tones().open_test({}, 1)
    slots = separator(whole.mixture, 8000)
    assert slots.shape == whole.sources.shape
    own.eval.mixtures = 3
    assert evaluate(own, tmp_path)["mixtures"] == 3
    written, _ = soundfile.read(tmp_path / "evaluation" / "best" / "estimate_1.wav")
    assert len(written) == len(whole.mixture)


def test_their_fields_are_checked(own, tmp_path):
    own.data.noise = 2.0
    with pytest.raises(UserError, match=r"config\.data\.noise is 2\.0; it must be from 0"):
        train(own, tmp_path)
