"""Sound files for the tests of data."""

import numpy as np
import soundfile

from audioslots_jax.data import store

SHAPE = {"sample_rate": 8000, "samples": 2000}
SCAN = {"sample_rate": 8000, "field": "data.root"}


def tone(seconds, rate, hertz=440.0, amplitude=0.3):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def write(path, audio, rate=8000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, **options)


HEADER = "mixture_ID,source_1_path,source_1_gain,source_2_path,source_2_gain,noise_path,noise_gain"
SUBSETS = ("train-clean-100", "dev-clean")
SPEAKERS = 4


def noise(samples, seed, level=0.1):
    """16-bit noise, which FLAC and a store keep as it is."""
    units = np.random.default_rng(seed).normal(0, level * 32768, samples)
    return np.round(units).clip(-32768, 32767).astype(np.int16)


def write_librimix(root, subsets=SUBSETS):
    """LibriSpeech and metadata in small: per subset 4 speakers with 2 utterances of 1 to 2.75 s."""
    for number, subset in enumerate(subsets):
        names = []
        for speaker in range(SPEAKERS):
            for take in range(2):
                name = f"{subset}/{100 * number + speaker}/7/{speaker}-7-000{take}.flac"
                samples = 16000 + 4000 * (speaker + SPEAKERS * take)
                write(root / "LibriSpeech" / name, noise(samples, samples + number), 16000)
                names.append(name)
        lines = [HEADER]
        for first in range(len(names)):
            second = (first + 3) % len(names)
            gains = f"{0.5 + first / 7},{1.3 - first / 9}"
            paths = f"{names[first]},{gains.split(',')[0]},{names[second]},{gains.split(',')[1]}"
            lines.append(f"{subset}-{first},{paths},noise.wav,{0.7 + first / 10}")
        path = root / "metadata" / "Libri2Mix" / f"libri2mix_{subset}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return root


SEXES = "FFMM"


def write_speakers(folder, speakers):
    """LibriSpeech's list of speakers, of whom two are female, then two male, and so on."""
    lines = [
        "; Made for tests; nobody is meant.",
        ";",
        ";ID  |SEX| SUBSET           |MINUTES| NAME",
    ]
    for number, speaker in enumerate(speakers):
        sex = SEXES[number % len(SEXES)]
        lines.append(f"{speaker:<4} | {sex} | dev-clean        | 8.02  | A | M | Reader")
    path = folder / "SPEAKERS.TXT"
    path.write_text("\n".join(lines) + "\n")
    return path


def contents(folder):
    """What a store holds: the bytes of every file that is the same wherever it was made."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != store.VERIFIED
    }
