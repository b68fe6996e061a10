"""Do slots know who speaks? ``python experiments/speaker_probe/run.py --data=DIR``.

Slots of speakers whom the model never heard in training, from mixtures with different partners:
are those of one speaker closer to each other than to those of others?
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.signal
from absl import logging
from jaxtyping import Bool, Float, Int

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.audio import permuted_si_snr
from audioslots_jax.data.draws import random_generator
from audioslots_jax.data.recordings import scan
from audioslots_jax.data.speakers import Speakers
from audioslots_jax.inference import RecordingSeparator
from audioslots_jax.inference.gain import Gain

SECONDS = 3.0  # of a mixture
BANDS = 40  # of the mel spectrum
RIDGE = 0.01  # of the probe, over the mean square of a feature
SHORTEST = 1e-9  # length of a feature


class Take(NamedTuple):
    """One speaker in one mixture.

    Attributes:
      speaker, partner, mixture: their numbers.
      slot: the slot that fits the speaker best, which the true source says.
      features: what may tell who speaks, by name.
    """

    speaker: int
    partner: int
    mixture: int
    slot: int
    features: dict[str, Float[np.ndarray, " feature"]]


def main() -> None:
    """Prints a table, and writes it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, nargs="+", help="a folder per speaker")
    parser.add_argument("--workdir", type=Path, help="a run; the package's model without")
    parser.add_argument("--rounds", type=int, default=20, help="mixtures of every speaker")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    separator = audioslots_jax.load(options.workdir)
    speakers = {}
    for folder in options.data:
        recordings, _ = scan(folder, field="--data", sample_rate=separator.sample_rate)
        speakers |= recordings
    table = as_table(takes(separator, list(speakers.values()), options.rounds))
    print(table)
    options.output.mkdir(parents=True, exist_ok=True)
    name = options.workdir.name if options.workdir else "package"
    (options.output / f"{name}.md").write_text(f"{table}\n")


def takes(separator: RecordingSeparator, speakers: list, rounds: int) -> list[Take]:
    """Returns all speakers in mixtures of two; partners are drawn anew in every round."""
    rate = separator.sample_rate
    alone = [
        Speakers({"": each}, rate, round(SECONDS * rate), sources=1, active=True)
        for each in speakers
    ]
    found = []
    for number in range(rounds):
        order = random_generator("pairs", number).permutation(len(speakers))
        for pair in order[: len(order) // 2 * 2].reshape(-1, 2):
            sources = np.concatenate([alone[i].example(0, number, int(i)) for i in pair])
            mixture = len(found) // 2
            slots, features = describe(separator, sources)
            for (speaker, partner), slot, own in zip(
                (pair, pair[::-1]), slots, features, strict=True
            ):
                found.append(Take(int(speaker), int(partner), mixture, int(slot), own))
    return found


def describe(
    separator: RecordingSeparator, sources: Float[np.ndarray, "source sample"]
) -> tuple[Int[np.ndarray, " source"], list[dict[str, np.ndarray]]]:
    """Returns the slot of each source, which fits it best, and the features of both."""
    mixture = sources.sum(axis=0)
    gain = Gain(separator.level, separator.crop)(mixture[None, None])
    estimates = _separate(separator.separator, separator.params, jnp.asarray(mixture[None]), gain)
    waveforms, slots = (np.asarray(x[0]) for x in estimates)
    order = np.asarray(permuted_si_snr(jnp.asarray(sources), jnp.asarray(waveforms))[1])
    rate = separator.sample_rate
    heard = log_mel(mixture, rate)
    features = [
        {
            "slots": slots[slot],
            "mel spectrum of the estimate": log_mel(waveforms[slot], rate),
            "mel spectrum of the mixture": heard,
            "mel spectrum of the clean source": log_mel(source, rate),
        }
        for source, slot in zip(sources, order, strict=True)
    ]
    return order, features


_separate = jax.jit(
    lambda separator, params, mixture, gain: (
        (estimates := separator(params, mixture, gain=gain)).waveforms,
        estimates.slots,
    ),
    static_argnums=0,
)


def log_mel(
    waveform: Float[np.ndarray, " sample"], sample_rate: int
) -> Float[np.ndarray, f"{BANDS}"]:
    """Returns the mean over time of the log mel spectrum, in dB, at a level of its own."""
    frequencies, _, spectrum = scipy.signal.stft(waveform, sample_rate, nperseg=512)
    mel = 2595 * np.log10(1 + frequencies / 700)
    edges = np.linspace(mel[1], mel[-1], BANDS + 2)
    rising = (mel[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - mel[None]) / np.diff(edges)[1:, None]
    power = np.maximum(np.minimum(rising, falling), 0) @ np.square(np.abs(spectrum))
    loud = power.sum(axis=0) > 1e-3 * power.sum(axis=0).max()
    levels = 10 * np.log10(power[:, loud] + 1e-6 * power.max()).mean(axis=1)
    return levels - levels.mean()


def centred(found: list[Take], name: str) -> Float[np.ndarray, "take feature"]:
    """Returns a feature of all takes, less its mean; of slots, less that of each slot's number.

    Slots of different numbers may lie in different places, whoever speaks.
    """
    values = np.stack([take.features[name] for take in found]).astype(np.float64)
    groups = np.array([take.slot if name == "slots" else 0 for take in found])
    for group in np.unique(groups):
        values[groups == group] -= values[groups == group].mean(axis=0)
    return values


def equal_error_rate(
    scores: Float[np.ndarray, " trial"],
    same: Bool[np.ndarray, " trial"],
    weights: Int[np.ndarray, " trial"] | None = None,
) -> float:
    """Returns the rate at which as many of the same are refused as others are accepted.

    A trial of a ``weight`` above 1 is there several times.
    """
    order = np.argsort(scores)
    counts = np.ones(len(scores)) if weights is None else weights
    own, others = np.where(same, counts, 0), np.where(same, 0, counts)
    refused = np.cumsum(own[order]) / own.sum()
    accepted = 1 - np.cumsum(others[order]) / others.sum()
    place = np.argmin(np.abs(refused - accepted))
    return float((refused[place] + accepted[place]) / 2)


def verification(
    found: list[Take], values: Float[np.ndarray, "take feature"], repeats: int = 200
) -> tuple[float, float, float]:
    """Returns the equal error rate of cosines, and its 95 % interval over drawn speakers.

    Trials are pairs of takes from different mixtures; those of one speaker have other partners.
    """
    units = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), SHORTEST)
    cosines = units @ units.T
    speaker, partner, mixture = (
        np.array([getattr(take, name) for take in found])
        for name in ("speaker", "partner", "mixture")
    )
    same = speaker[:, None] == speaker
    trial = np.triu(mixture[:, None] != mixture, k=1)
    trial &= ~(same & (partner[:, None] == partner))
    rate = equal_error_rate(cosines[trial], same[trial])
    random = random_generator("bootstrap", 0)
    rates = []
    for _ in range(repeats):
        count = speaker.max() + 1
        drawn = np.bincount(random.choice(count, count), minlength=count)
        # A speaker who is drawn twice is two people; trials between the two are left out.
        own = drawn[speaker]
        weights = np.where(same, own[:, None], own[:, None] * own[None])[trial]
        if np.count_nonzero(drawn) > 1:
            rates.append(equal_error_rate(cosines[trial], same[trial], weights))
    low, high = np.percentile(rates, [2.5, 97.5])
    return rate, float(low), float(high)


def probe(found: list[Take], values: Float[np.ndarray, "take feature"]) -> float:
    """Returns how often a linear classifier, fitted to every other take, names the speaker."""
    speaker = np.array([take.speaker for take in found])
    fitted = np.array([take.mixture for take in found]) % 2 == 0
    targets = np.eye(speaker.max() + 1)[speaker]
    inputs = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    x, y = inputs[fitted], targets[fitted]
    ridge = RIDGE * len(x) * np.mean(np.square(values)) * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    return float(np.mean(np.argmax(inputs[~fitted] @ weights, axis=1) == speaker[~fitted]))


def as_table(found: list[Take]) -> str:
    """Returns a Markdown table of all features."""
    count = len({take.speaker for take in found})
    lines = [
        f"| {len(found)} takes of {count} speakers | equal error rate | 95 % interval | "
        "speaker named by a linear probe |",
        "| --- | --- | --- | --- |",
    ]
    for name in found[0].features:
        values = centred(found, name)
        rate, low, high = verification(found, values)
        lines.append(
            f"| {name} | {100 * rate:.1f} % | {100 * low:.1f} to {100 * high:.1f} % | "
            f"{100 * probe(found, values):.1f} % |"
        )
    return "\n".join([*lines, "", f"By chance 50 % and {100 / count:.1f} %."])


if __name__ == "__main__":
    main()
