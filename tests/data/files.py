"""Sound files for the tests of data."""

import numpy as np
import soundfile

SHAPE = {"sample_rate": 8000, "samples": 2000}
SCAN = {**SHAPE, "field": "data.root"}


def tone(seconds, rate, hertz=440.0, amplitude=0.3):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def write(path, audio, rate=8000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, **options)
