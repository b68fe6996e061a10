"""Learns to separate two people who speak at once, from a folder of speakers.

    audioslots prepare DIR --output STORE --sample-rate=8000
    python main.py --config=configs/compact.py --config.data.root=STORE --workdir=runs/compact

``DIR`` holds a folder per speaker; it can be the data.root itself, at a lower speed. Several are
joined: --config.data.root=STORE,OTHER.

9 minutes of steps on two CPU cores, 4.8 dB SI-SNRi on 192 mixtures of 3 s of 13 speakers who were
not trained on (mean of three seeds; 241 speakers of LibriSpeech, 4.45 h; 2.58 M parameters, a
virtual machine on an AMD EPYC); oracle masks reach 15 dB. experiments/compact trains it longer, on
more speakers, to 8.1 dB. Variations; of these count (experiments/counting) and speaker_contrast
(experiments/speaker_probe) have been trained:

    --config=configs/compact.py:base          meant for a GPU and 30 minutes
    --config=configs/compact.py:large         meant for a pod
    --config=configs/compact.py:libri2mix     Libri2Mix at 16 kHz with dynamic mixing (from a store)
    --config=configs/compact.py:count         0 to 3 people, with pauses and noise, whose number the
                                              model says; goes on from the package's model of two
    --config=configs/compact.py:speaker_contrast    slots that are alike wherever a voice is heard

They can be joined, but for base with large, and libri2mix with count. With base or large, count
starts from nothing.
"""

from ml_collections import ConfigDict

from audioslots_jax import UserError
from audioslots_jax.variations import parse

VARIATIONS = ("base", "large", "libri2mix", "count", "speaker_contrast")


def get_config(variations: str = "") -> ConfigDict:
    """The experiment; ``variations`` are names in `VARIATIONS`, divided by commas."""
    chosen = parse(variations, VARIATIONS, "compact")
    if {"base", "large"} <= chosen:
        raise UserError("configs/compact.py is either base or large, not both.")
    if {"libri2mix", "count"} <= chosen:
        raise UserError("configs/compact.py is either libri2mix, which has two voices, or count.")
    config = ConfigDict()
    config.seed = 0
    config.mesh = "data"  # or fsdp: parameters and optimiser divided over the devices
    config.precision = "float32"  # or bfloat16: of activations and products
    config.profile = 0  # steps to trace
    config.data = ConfigDict(
        {
            "kind": "speakers",
            "root": "",
            "eval_root": "",
            "sources": 2,
            "absent": 0.0,  # probability that a source is not there
            "pauses": 0.0,  # that one begins late, ends early or pauses
            "noise": "",  # of white,pink,hum,chords,babble,recorded
            "noise_root": "",  # a folder of recorded noise
            "noise_low_db": 0.0,
            "noise_high_db": 20.0,
            "sample_rate": 8000,
            "crop_seconds": 2.0,
            "workers": 1,
            "speed": 0.0,  # share by which voices are faster or slower
        }
    )
    config.stft = ConfigDict({"window": 512, "hop": 256, "edges": "centred", "power": 0.3})
    config.model = ConfigDict(
        {
            "slots": 2,
            "presence": False,  # of sources in slots, as probabilities
            "mute": False,  # slots, as far as they are said to hold no source
            "encoder": {
                "name": "frames",
                "width": 192,
                "blocks": 8,
                "cycle": 6,
                "embedding": 12,
                "embedding_block": 6,
            },
            "slot_module": {"name": "gated_pooling", "slot_size": 384},
            "decoder": {"name": "mask", "adds_up": True},
        }
    )
    config.objectives = ConfigDict(
        {
            "matched_snr": {"weight": 1.0, "limit_db": 30.0, "silence": 0.0},
            "affinity": {"weight": 10.0},
        }
    )
    config.matching = ConfigDict({"solver": "exhaustive"})
    config.optimizer = ConfigDict(
        {"name": "muon", "beta": 0.95, "consistent_rms": 0.2, "iterations": 3}
    )
    config.train = ConfigDict(
        {
            "steps": 2000,
            "start_from": "",  # a run, or a model of the package: compact, count
            "batch_size": 16,
            "learning_rate": 3e-3,
            "warmup_steps": 50,
            "clip_norm": 0.0,
            "micro_batches": 1,
            "sequence": 1,
            "with_sources": 1.0,
            "ema_decay": 0.0,
            "remat_decoder": False,
            "log_every": 50,
            "eval_every": 500,
            "checkpoint_every": 250,
            "keep_checkpoints": 2,
        }
    )
    config.eval = ConfigDict(
        {
            "mixtures": 96,
            "mask": "wiener",  # of decoders of magnitudes; this one paints its own masks
            "chunk_seconds": 120.0,  # few joints in a conversation (experiments/conversations)
            "overlap": 0.2,
            "examples": 4,
            "evaluators": ("separation", "oracle_masks"),
        }
    )
    if chosen & {"base", "large"}:
        config.precision = "bfloat16"
        config.train.update(log_every=100, checkpoint_every=1000)
        config.eval.mixtures = 512
    if "base" in chosen:
        config.data.crop_seconds = 3.0
        config.data.workers = 8
        config.model.encoder.update(width=512, blocks=16, embedding_block=12)
        config.model.slot_module.slot_size = 1024
        config.train.update(steps=20_000, batch_size=64, warmup_steps=500, learning_rate=2e-3)
        config.train.eval_every = 2000
    if "large" in chosen:
        config.data.crop_seconds = 4.0
        config.data.workers = 16
        config.model.encoder.update(width=768, blocks=32, embedding_block=24)
        config.model.slot_module.slot_size = 1536
        config.train.update(steps=200_000, batch_size=256, warmup_steps=2000, learning_rate=1e-3)
        config.train.eval_every = 5000
    if "count" in chosen:
        config.data.update(sources=3, absent=1 / 3, pauses=0.3)
        config.data.update(noise="white,pink,hum,chords", noise_low_db=10.0, noise_high_db=40.0)
        config.model.update(slots=3, presence=True, mute=True)
        config.model.decoder.adds_up = False  # noise belongs to no slot
        if chosen & {"base", "large"}:
            # As many units for each slot as the two have.
            config.model.slot_module.slot_size = config.model.slot_module.slot_size * 3 // 2
        else:
            # From nothing, so much at once is not learned in this time (experiments/counting).
            config.train.start_from = "compact"
            config.train.update(steps=2500, learning_rate=1.5e-3, warmup_steps=100)
            config.data.crop_seconds = 3.0
        config.objectives.matched_snr.silence = 0.1
        config.objectives.presence = ConfigDict({"weight": 3.0})
        config.eval.evaluators = ("separation", "counting", "oracle_masks")
        config.eval.chunk_seconds = 30.0  # counting was measured in chunks of this length
    if "speaker_contrast" in chosen:
        config.objectives.speaker_contrast = {"weight": 2.0, "temperature": 0.1}
        config.train.batch_size //= 2  # of crops twice as long, whose halves are mixtures
    if "libri2mix" in chosen:
        kept = {name: config.data[name] for name in ("crop_seconds", "workers")}
        config.data = ConfigDict(
            {
                "kind": "libri2mix",
                "root": "",
                "split": "train-360",
                "eval_split": "dev",
                "test_split": "test",
                "mixing": "dynamic",
                "silence": "redraw",
                "allow_missing": False,
                "sources": 2,
                "sample_rate": 16000,
                **kept,
            }
        )
        config.stft.update(window=1024, hop=512)
    return config
