"""How many voices of the program a model hears: ``voices.py --workdir=RUN --two=RUN``."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging

sys.path.insert(0, str(Path(__file__).parents[2]))

import audioslots_jax
from audioslots_jax.data.batch import Whole
from audioslots_jax.data.voices import TEST, Voices
from audioslots_jax.data.wholes import WHOLE_SECONDS, held_out_wholes
from audioslots_jax.evaluation.scores import score
from audioslots_jax.inference import RecordingSeparator
from experiments.counting.odd import hear
from experiments.counting.speech import MOST, counted, scored


def main() -> None:
    """Prints the scores as JSON, and writes them to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="a run that counts")
    parser.add_argument("--two", type=Path, required=True, help="a run of two voices alone")
    parser.add_argument("--mixtures", type=int, default=64, help="of each number of voices")
    results = Path(__file__).with_name("results")
    parser.add_argument("--output", type=Path, default=results, help="folder for the scores")
    parser.add_argument("--name", default="voices", help="of the file")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    trained, two = audioslots_jax.load(options.workdir), audioslots_jax.load(options.two)
    mixtures = [hear(trained, x) for x in voices_alone(trained.sample_rate, options.mixtures)]
    result = scored(mixtures)
    pairs = [heard for heard in mixtures if len(heard.whole.sources) == 2]
    counting = np.array([counted(heard).si_snri for heard in pairs])
    of_two = np.array([of_the_model_of_two(two, heard.whole) for heard in pairs])
    lost = (of_two - counting)[np.isfinite(counting)]
    result["si_snri_of_the_model_of_two"] = float(of_two.mean())
    result["lost_where_right"] = float(lost.mean())
    result["lost_stderr"] = float(lost.std(ddof=1) / len(lost) ** 0.5)
    text = json.dumps(result, indent=2)
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / f"{options.name}.json").write_text(f"{text}\n")


def of_the_model_of_two(two: RecordingSeparator, whole: Whole) -> float:
    """Returns its SI-SNRi in dB, mean over the sources."""
    estimates = np.asarray(two(whole.mixture, two.sample_rate))
    return float(np.mean(score(whole, estimates, two.crop).si_snri))


def voices_alone(sample_rate: int, count: int) -> Iterator[Whole]:
    """Yields so many mixtures of each number of test voices, without noise and pauses."""
    samples = round(WHOLE_SECONDS * sample_rate)
    for sources in range(1, MOST + 1):
        voices = Voices(sample_rate, samples, sources, TEST)
        yield from held_out_wholes(voices, f"voices{sources}", count)


if __name__ == "__main__":
    main()
