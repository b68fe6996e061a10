"""What a model that counts makes of one voice, and of none: ``odd.py --workdir=RUN``."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.data import data_sets
from audioslots_jax.data.batch import HeldOut, Whole
from audioslots_jax.data.level import mean_square
from audioslots_jax.inference import RecordingSeparator, packaged
from audioslots_jax.inference.presence import PRESENT
from audioslots_jax.workdir import read_data

SECONDS, VOICES = 10, 40
LIMIT_DB, CLEAN_DB = 100.0, 20.0


def main() -> None:
    """Prints a table, and writes it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True, help="a run that counts, or the model count")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a chunk")
    results = Path(__file__).with_name("results")
    parser.add_argument("--output", type=Path, default=results, help="folder for the table")
    parser.add_argument("--name", default="odd", help="of the table")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    workdir = packaged.folder_of(options.workdir)
    trained = audioslots_jax.load(workdir)
    cut = {**trained.config["eval"], "chunk_seconds": options.seconds, "overlap": 0.5}
    trained = dataclasses.replace(trained, config={**trained.config, "eval": cut})
    lines = ["| recording | files | probabilities |", "| --- | --- | --- |"]
    for name, sound in sounds(trained.sample_rate).items():
        _, said = trained.with_presence(sound[None].astype(np.float32), trained.sample_rate)
        probabilities = ", ".join(f"{p:.2f}" for p in sorted(said, reverse=True))
        lines.append(f"| {name} | {np.sum(said >= PRESENT)} | {probabilities} |")
    if not (workdir / packaged.PARAMETERS).exists():  # a run knows where its recordings lie
        lines += ["", one_voice(trained, read_data(workdir).held_out or {})]
    table = "\n".join(lines)
    print(table)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / f"{options.name}.md").write_text(f"{table}\n")


def sounds(rate: int) -> dict[str, np.ndarray]:
    """Returns recordings of no voice, by name."""
    seconds, random = np.arange(SECONDS * rate) / rate, np.random.default_rng(0)
    tones = {f"a tone of {f} Hz": 0.3 * np.sin(2 * np.pi * f * seconds) for f in (100, 440, 3000)}
    roots = np.repeat(random.choice([262.0, 220.0, 175.0], 20), SECONDS * rate // 20)
    phases = 2 * np.pi * np.cumsum(roots) / rate
    # C, a, F and G as plucked triads, and a fifth of square waves.
    keys = np.repeat([[0, 4, 7], [-3, 0, 4], [-7, -3, 0], [-5, -1, 2]], SECONDS * rate // 4, axis=0)
    plucked = np.exp(-3 * (seconds % (SECONDS / 4)))
    triads = sum(
        np.sin(2 * np.pi * 262 * partial * np.cumsum(2 ** (key / 12)) / rate) / partial
        for key in keys.T
        for partial in range(1, 6)
    )
    square = sum(np.sign(np.sin(2 * np.pi * f * seconds)) for f in (196, 294))
    return {
        "silence": 0 * seconds,
        "white noise": 0.1 * random.normal(size=len(seconds)),
        "white noise of the last bit": np.round(random.normal(0, 0.6, len(seconds))) / 32768,
        **tones,
        "a chord": 0.1 * sum(np.sin(2 * np.pi * 262 * r * seconds) for r in (1, 1.25, 1.5)),
        "chords": 0.1 * sum(np.sin(r * phases) for r in (1, 1.25, 1.5, 2)),
        "plucked chords": 0.1 * plucked * triads,
        "a fifth of square waves": 0.1 * square,
    }


def one_voice(trained: RecordingSeparator, held_out: HeldOut) -> str:
    """Returns what becomes of test voices that are heard alone, in a sentence."""
    scene = {"absent": 0.67, "pauses": 0.0, "noise": "", "noise_root": ""}
    wholes = data_sets.make({**trained.config["data"], **scene}).open_test(held_out, 4 * VOICES)
    voices = [whole for whole in wholes if len(whole.sources) == 1][:VOICES]
    return alone([hear(trained, whole) for whole in voices])


class Heard(NamedTuple):
    """A mixture, its slots (slot, sample), and their probabilities to hold a source (slot,)."""

    whole: Whole
    slots: np.ndarray
    said: np.ndarray


def hear(trained: RecordingSeparator, whole: Whole) -> Heard:
    """Returns what a model makes of a mixture."""
    slots, said = trained.with_presence(whole.mixture[None], trained.sample_rate)
    return Heard(whole, slots[:, 0], said)


def alone(voices: Sequence[Heard]) -> str:
    """Returns what becomes of voices without another one, in a sentence."""
    rows = []
    for whole, slots, said in voices:
        energies = np.mean(np.square(slots), axis=1)
        voice, strongest = whole.sources[0], slots[np.argmax(energies)]
        target = (voice @ strongest) / (voice @ voice) * voice
        floor = 10 ** (-LIMIT_DB / 10)
        snr = mean_square(target) / max(mean_square(strongest - target), floor)
        other = np.sort(energies)[-2] / mean_square(whole.mixture)
        rows.append([10 * np.log10(snr), 10 * np.log10(max(other, floor)), sum(said >= PRESENT)])
    snr, other, found = np.array(rows).T
    both = np.mean((snr >= CLEAN_DB) & (other <= -CLEAN_DB))
    clean = sum(snr[found == 1] >= CLEAN_DB)
    return (
        f"{len(rows)} voices alone: one slot is counted in {100 * np.mean(found == 1):.0f} %; the "
        f"strongest has {snr.mean():.1f} dB SI-SNR (at least {snr.min():.1f}), the next one "
        f"{other.mean():.1f} dB of the recording's energy (at most {other.max():.1f}); "
        f"{CLEAN_DB:.0f} dB or better are both of {100 * both:.0f} %, and the strongest of {clean} "
        f"of the {sum(found == 1)} whose number is right."
    )


if __name__ == "__main__":
    main()
