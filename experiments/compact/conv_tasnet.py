"""Conv-TasNet of Asteroid on the same folder, for so many steps; see README.md.

pip install asteroid
python experiments/compact/conv_tasnet.py --data=STORE --librimix=DIR --steps=480
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from absl import logging
from asteroid.losses import PITLossWrapper, pairwise_neg_sisdr
from asteroid.models import ConvTasNet

sys.path.insert(0, str(Path(__file__).parents[2]))

from audioslots_jax.data.speakers import SpeakersData
from experiments.compact.score import card, dev_mixtures, official_mixtures

RATE = 8000
CROP_SECONDS = 3.0  # as in Asteroid's recipe for LibriMix, like what follows
BATCH, LEARNING_RATE, CLIP = 2, 1e-3, 5.0  # a larger batch leaves too few steps in the time


class Separator:
    """The network as `card` needs it."""

    sample_rate = RATE

    def __init__(self, network: torch.nn.Module):
        """Takes a trained network."""
        self._network = network

    def __call__(self, mixture: np.ndarray, sample_rate: int) -> np.ndarray:
        """Returns the estimates of a mixture at 8 kHz."""
        with torch.no_grad():
            return self._network(torch.from_numpy(mixture)[None])[0].numpy()


def main() -> None:
    """Trains, scores and writes the scores."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a store with train/ and dev/")
    parser.add_argument("--librimix", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    results = Path(__file__).parent / "results"
    parser.add_argument("--output", type=Path, default=results / "conv_tasnet.json")
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    torch.manual_seed(0)
    data = SpeakersData(root=options.data, sample_rate=RATE, crop_seconds=CROP_SECONDS).open()
    network = ConvTasNet(n_src=2, sample_rate=RATE, mask_act="relu")
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    loss_of = PITLossWrapper(pairwise_neg_sisdr, pit_from="pw_mtx")
    curve, seconds = {}, []
    for step in range(options.steps):
        start = time.perf_counter()
        # The rate falls to 0 at the end, as ours does.
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (0.5 + 0.5 * np.cos(np.pi * step / options.steps))
        batch = data.train.batch(0, step + 1, range(BATCH), BATCH)
        heard = batch.sources.any(axis=-1).all(axis=-1)  # silence has no SI-SDR
        loss = loss_of(network(torch.from_numpy(batch.mixture[heard])),
                       torch.from_numpy(batch.sources[heard]))  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        if (step + 1) % 10 == 0:
            curve[step + 1] = round(float(loss.detach()), 2)
            recent = np.median(seconds[-10:])
            print(f"step {step + 1}, {recent:.2f} s, loss {loss:.2f}", flush=True)
    separator = Separator(network.eval())
    result = {
        "model": "asteroid ConvTasNet",
        "parameters": sum(p.numel() for p in network.parameters()),
        "steps": options.steps,
        "batch": f"{BATCH} x {CROP_SECONDS:g} s",
        "training_loss": curve,
        "dev_3_seconds": card(separator, dev_mixtures(Path(options.data) / "dev", RATE, 192)),
        "libri2mix_test_min": card(separator, official_mixtures(options.librimix, RATE, 60)),
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    print(options.output.read_text())


if __name__ == "__main__":
    main()
