import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioslots_jax.data import Voices
from audioslots_jax.training import evaluation
from audioslots_jax.training.step import make_task
from tests.runs import new_state


def run(config, mask="wiener"):
    task = make_task(config)
    separate = jax.jit(functools.partial(evaluation.separate, task, mask))
    params = new_state(config).params
    batches = evaluation.held_out_batches(
        Voices(sample_rate=8000, samples=960, held_out=True), count=6, batch_size=4
    )
    assert len(batches) == 2
    return batches, evaluation.evaluate(
        lambda sources: separate(params, jnp.asarray(sources)),
        batches,
        count=6,
        examples=5,
        autoencoder=config.model.slots == 1,
    )


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
    batches, (separated, scores) = run(tiny, mask)
    mixtures = np.concatenate(batches)[:6]
    expected = np.mean([oracle(sources, mask) for sources in mixtures])
    assert scores["oracle_si_snr"] == pytest.approx(expected, abs=0.01)
    assert set(scores) == {"loss", "si_snr", "si_snri", "oracle_si_snr", "oracle_si_snri"}
    assert scores["oracle_si_snr"] - scores["oracle_si_snri"] == pytest.approx(
        scores["si_snr"] - scores["si_snri"], abs=1e-4
    )
    assert separated.estimates.shape == (8, 2, 960)
    if mask == "wiener":  # the masks add up to one
        np.testing.assert_allclose(separated.estimates.sum(axis=1), separated.mixture, atol=1e-4)


def test_held_out_mixtures_do_not_depend_on_the_batch_size():
    voices = Voices(sample_rate=8000, samples=960, held_out=True)
    by_four = np.concatenate(evaluation.held_out_batches(voices, 6, 4))
    by_three = np.concatenate(evaluation.held_out_batches(voices, 6, 3))
    assert len(by_four) == 8
    np.testing.assert_array_equal(by_three, by_four[:6])


def test_an_autoencoder_is_named_so(tiny):
    tiny.model.slots = 1
    _, (_, scores) = run(tiny)
    assert "autoencoder_si_snri" in scores
    assert "si_snri" not in scores


def test_estimates_are_in_the_order_of_the_sources(tiny):
    """With the true spectrograms in swapped slots, the estimates come back unswapped."""
    task = make_task(tiny)
    sources = jnp.asarray(
        evaluation.held_out_batches(Voices(sample_rate=8000, samples=960, held_out=True), 4, 4)[0]
    )

    class Swapped(type(task)):
        def apply(self, params, spectrograms):
            outputs = super().apply(params, spectrograms)
            return outputs._replace(spectrograms=jnp.abs(spectrograms[:, ::-1, :-1]) ** 0.3)

    swapped = Swapped(task.model, task.slots, task.stft, task.power, task.solver)
    separate = jax.jit(functools.partial(evaluation.separate, swapped, "wiener"))
    separated = separate(new_state(tiny).params, sources)
    np.testing.assert_allclose(separated.si_snr, separated.oracle_si_snr, atol=1e-3)
    np.testing.assert_allclose(
        separated.estimated_spectrograms, separated.source_spectrograms, atol=1e-4
    )
    np.testing.assert_allclose(separated.loss, np.zeros(4), atol=1e-10)
