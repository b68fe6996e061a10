import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax import Batch, Estimates, Separator
from audioslots_jax.data.voices import VALIDATION, Voices
from audioslots_jax.evaluation.evaluators import EVALUATORS, evaluate, held_out_batches
from audioslots_jax.models import Magnitudes
from audioslots_jax.training.loop import make_evaluators
from audioslots_jax.training.settings import complete
from audioslots_jax.training.step import make_task
from tests.runs import new_state

VOICES = Voices(sample_rate=8000, samples=960, voices=VALIDATION)


def run(config):
    """The scores and examples of a new model."""
    task, params = make_task(config), new_state(config).params

    def of_batch(evaluator):
        jitted = jax.jit(evaluator)
        return lambda batch: jitted(params, Batch(*map(jnp.asarray, batch)))

    batches = held_out_batches(VOICES, count=6, batch_size=4)
    assert len(batches) == 2
    made = make_evaluators(complete(config), task)
    each = {names: of_batch(evaluator) for names, evaluator in made.items()}
    return batches, evaluate(each, batches, count=6, examples=5)


def oracle(sources, mask, window=256, hop=128):
    """SI-SNR of masks made from the true sources, independently and in float64."""
    hann = 0.5 * (1 - np.cos(2 * np.pi * np.arange(window) / window))
    samples = sources.shape[-1]
    starts = np.arange(0, samples, hop)

    def forward(wave):
        padded = np.concatenate([np.zeros(window // 2), wave, np.zeros(window)])
        return np.stack([np.fft.rfft(hann * padded[s : s + window]) for s in starts])

    def inverse(spectrogram):
        audio, energy = np.zeros((2, samples + 2 * window))
        for s, frame in zip(starts, np.fft.irfft(spectrogram), strict=True):
            audio[s : s + window] += hann * frame
            energy[s : s + window] += hann**2
        return (audio / np.maximum(energy, 0.1 * energy.max()))[window // 2 :][:samples]

    sources = sources.astype(np.float64)
    mixture = forward(sources.sum(0))
    magnitudes = np.abs([forward(source) for source in sources])
    magnitudes[..., -1] = magnitudes[..., -2]  # the last bin's mask copies its neighbour's
    if mask == "ibm":
        masks = magnitudes == magnitudes.max(0)
    else:
        masks = magnitudes**2 / np.sum(magnitudes**2, axis=0)
    scores = []
    for y, e in zip(sources, [inverse(m * mixture) for m in masks], strict=True):
        scaled = np.sum(y * e) / np.sum(y**2) * y
        scores.append(10 * np.log10(np.sum(scaled**2) / np.sum((scaled - e) ** 2)))
    return np.mean(scores)


@pytest.mark.parametrize("mask", ["ibm", "wiener"])
def test_scores_are_means_over_the_mixtures_asked_for(tiny, mask):
    tiny.eval.mask = mask
    batches, (scores, examples) = run(tiny)
    mixtures = np.concatenate([batch.sources for batch in batches])[:6]
    expected = np.mean([oracle(sources, mask) for sources in mixtures])
    assert scores["oracle_si_snr"] == pytest.approx(expected, abs=0.01)
    assert list(scores) == ["si_snri", "si_snr", "loss", "oracle_si_snri", "oracle_si_snr"]
    assert scores["oracle_si_snr"] - scores["oracle_si_snri"] == pytest.approx(
        scores["si_snr"] - scores["si_snri"], abs=1e-4
    )
    assert examples.estimates.shape == (8, 2, 960)
    if mask == "wiener":  # the masks add up to one
        np.testing.assert_allclose(examples.estimates.sum(axis=1), examples.mixture, atol=1e-4)


def test_held_out_mixtures_do_not_depend_on_the_batch_size():
    by_four, by_three = (
        np.concatenate([batch.sources for batch in held_out_batches(VOICES, 6, size)])
        for size in (4, 3)
    )
    assert len(by_four) == 8
    np.testing.assert_array_equal(by_three, by_four[:6])


def test_an_autoencoder_is_named_so(tiny):
    tiny.model.slots = 1
    del tiny.eval["evaluators"]
    _, (scores, examples) = run(tiny)
    assert next(iter(scores)) == "autoencoder_si_snri"
    assert "si_snri" not in scores
    assert examples.estimates.shape == (8, 2, 960)


class Swapped(Separator):
    """A separator whose parameters are the true sources, which it gives in another order."""

    def __call__(self, params, mixture, **others):
        magnitudes = self.front_end.magnitudes(params)[:, ::-1]
        waveforms = self.unmix(mixture, Magnitudes(magnitudes))
        return Estimates(waveforms, magnitudes, magnitudes, jnp.zeros((len(mixture), 2, 1)), {})


def test_estimates_are_in_the_order_of_the_sources(tiny):
    """With the true spectrograms in swapped slots, the estimates come back unswapped."""
    task = make_task(tiny)
    batch = Batch(*map(jnp.asarray, held_out_batches(VOICES, 4, 4)[0]))
    swapped = Swapped(**vars(task.separator))
    evaluation = jax.jit(EVALUATORS["separation"](swapped, task.objectives))(batch.sources, batch)
    oracle = jax.jit(EVALUATORS["oracle_masks"](task.separator, task.objectives))
    oracle_scores = oracle(None, batch).values
    for found, expected in zip(evaluation.values[:2], oracle_scores, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(evaluation.values[2], np.zeros(4), atol=1e-10)
    examples = evaluation.examples
    np.testing.assert_allclose(
        examples.estimated_spectrograms, examples.source_spectrograms, atol=1e-4
    )
