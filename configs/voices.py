"""Learns to separate two sung voices that the program makes itself.

    python main.py --config=configs/voices.py --workdir=runs/voices

5 minutes on two CPU cores (8.4 on slower ones), 11.1 dB SI-SNRi on 128 validation mixtures; oracle
masks reach 17.9 dB (seed 0, crops of 0.5 s at 8 kHz, 2.05 M parameters, a virtual machine on an AMD
EPYC). Variations:

    --config=configs/voices.py:mask             the compact model: a decoder that sees the mixture
    --config=configs/voices.py:slot_attention   Slot Attention in place of the transformer
    --config=configs/voices.py:carry_over       four chunks in a row, whose slots carry over
    --config=configs/voices.py:mixit            four slots that learn from sums of mixtures alone
    --config=configs/voices.py:mixture          slots that learn to paint the mixture alone
    --config=configs/voices.py:autoencoder      one slot, one true voice at a time: the ceiling
    --config=configs/voices.py:mask,count       0 to 3 voices, whose number the model says

On the same, slower machine beside other work (seed 0, validation mixtures): ``mask`` 16.0 dB in 7.6
minutes; ``mask,mixit`` 9.4 dB in 5.6 minutes. ``mask,count`` finds the right number of voices in
85 % of whole mixtures of 10 s with noise and pauses, after 11 minutes (experiments/counting).
``slot_attention`` scores as the default does (10.88 and 10.92 dB, three seeds of both), and
``slot_attention,mixture`` 1.6 dB after 1,000 steps (experiments/next_steps). With
``mask,carry_over`` voices change their slots less often than slots that start anew
(experiments/carry_over). ``autoencoder`` is part of experiments/decoders. But for mixit, mixture,
autoencoder and count, they can be joined.
"""

from ml_collections import ConfigDict

from audioslots_jax import UserError
from audioslots_jax.variations import parse

VARIATIONS = (
    "mask", "slot_attention", "carry_over", "mixit", "mixture", "autoencoder", "count",
)  # fmt: skip


def get_config(variations: str = "") -> ConfigDict:
    """The experiment; ``variations`` are names in `VARIATIONS`, divided by commas."""
    chosen = parse(variations, VARIATIONS, "voices")
    if len(clash := chosen & {"mixit", "mixture", "autoencoder", "count"}) > 1:
        raise UserError(f"configs/voices.py is one of {', '.join(sorted(clash))}, not all of them.")
    config = ConfigDict()
    config.seed = 0
    config.mesh = "data"  # or fsdp: parameters and optimiser divided over the devices
    config.precision = "float32"  # or bfloat16: of activations and products
    config.profile = 0  # steps to trace
    config.data = ConfigDict(
        {
            "kind": "voices",
            "sources": 2,
            "absent": 0.0,  # probability that a source is not there
            "pauses": 0.0,  # that one begins late, ends early or pauses
            "noise": "",  # of white,pink,hum,chords,babble,recorded
            "noise_root": "",  # a folder of recorded noise
            "noise_low_db": 0.0,
            "noise_high_db": 20.0,
            "sample_rate": 8000,
            "crop_seconds": 0.5,
            "workers": 1,
        }
    )
    config.stft = ConfigDict({"window": 256, "hop": 128, "edges": "centred", "power": 0.3})
    config.model = ConfigDict(
        {
            "slots": 2,
            "presence": False,  # of sources in slots, as probabilities
            "mute": False,  # slots, as far as they are said to hold no source
            "encoder": {
                "name": "resnet",
                "blocks": (1, 1, 1, 1),
                "widths": (32, 64, 128, 256),
                "strides": (1, 1, 2, 2),
                "root_width": 32,
                "root_stride": 2,
                "groups": 8,
            },
            "slot_module": {
                "name": "query_transformer",
                "slot_size": 256,
                "layers": 2,
                "width": 128,
                "heads": 4,
                "mlp": 256,
                "frequency_octaves": 4,
                "time_octaves": 2,
            },
            "decoder": {
                "name": "spatial_broadcast",
                "layers": 3,
                "width": 64,
                "frequency_octaves": 6,
                "time_octaves": 2,
            },
        }
    )
    config.objectives = ConfigDict({"matched_magnitude": {"weight": 1.0}})
    config.matching = ConfigDict({"solver": "exhaustive"})
    config.optimizer = ConfigDict({"name": "adam"})
    config.train = ConfigDict(
        {
            "steps": 2500,
            "start_from": "",  # a run whose parameters it begins with
            "batch_size": 8,
            "learning_rate": 3e-3,
            "warmup_steps": 200,
            "clip_norm": 0.0,
            "micro_batches": 1,
            "sequence": 1,
            "with_sources": 1.0,
            "ema_decay": 0.0,
            "remat_decoder": True,  # faster on a CPU, whose caches hold a block
            "log_every": 50,
            "eval_every": 500,
            "checkpoint_every": 250,
            "keep_checkpoints": 2,
        }
    )
    config.eval = ConfigDict(
        {
            "mixtures": 128,
            "mask": "wiener",
            "chunk_seconds": 0.0,  # of recordings; 0 for that of a crop
            "overlap": 0.75,
            "examples": 4,
            "evaluators": ("separation", "oracle_masks"),
        }
    )
    if "mask" in chosen:
        config.model = ConfigDict(
            {
                "slots": 2,
                "presence": False,  # of sources in slots, as probabilities
                "mute": False,  # slots, as far as they are said to hold no source
                "encoder": {
                    "name": "frames",
                    "width": 128,
                    "blocks": 6,
                    "cycle": 4,
                    "embedding": 12,
                    "embedding_block": 4,
                },
                "slot_module": {"name": "gated_pooling", "slot_size": 256},
                "decoder": {"name": "mask", "adds_up": True},
            }
        )
        config.objectives = ConfigDict(
            {
                "matched_snr": {"weight": 1.0, "limit_db": 30.0, "silence": 0.0},
                "affinity": {"weight": 10.0},
            }
        )
        config.optimizer = ConfigDict(
            {"name": "muon", "beta": 0.95, "consistent_rms": 0.2, "iterations": 3}
        )
        config.train.update(batch_size=32, warmup_steps=50, remat_decoder=False)
    if "slot_attention" in chosen:
        config.model.slot_module = ConfigDict(
            {
                "name": "slot_attention",
                "slot_size": 256,
                "iterations": 3,
                "width": 128,
                "mlp": 256,
                "start": "learned",
                "frequency_octaves": 4,
                "time_octaves": 2,
            }
        )
    if chosen & {"mixit", "mixture"}:
        if "mask" in chosen:
            config.model.encoder.embedding = 0  # nothing says which cells belong together
        config.train.with_sources = 0.0
        config.objectives = ConfigDict({"mixture_magnitude": {"weight": 1.0}})
    if "mixit" in chosen:
        config.model.slots = 4
        config.objectives = ConfigDict(
            {"mixit": {"weight": 1.0, "limit_db": 30.0, "mixing": "all"}}
        )
    if "autoencoder" in chosen:
        config.model.slots = 1
        config.eval.evaluators = ("autoencoder", "oracle_masks")
        config.train.batch_size //= 2  # of mixtures, whose voices are rows
    if "count" in chosen:
        config.data.update(sources=3, absent=1 / 3, pauses=0.3)
        config.data.update(noise="white,pink,hum", noise_low_db=15.0, noise_high_db=40.0)
        config.model.update(slots=3, presence=True)
        if "mask" in chosen:
            config.model.decoder.adds_up = False  # noise belongs to no slot
            config.model.slot_module.slot_size = 384
        config.objectives.matched_snr = ConfigDict(
            {"weight": 1.0, "limit_db": 30.0, "silence": 0.1}
        )
        config.objectives.presence = ConfigDict({"weight": 3.0})
        config.eval.evaluators = ("separation", "counting", "oracle_masks")
        # Voices change their slots at joints, and only long crops teach long chunks.
        config.data.crop_seconds = 2.0
        config.train.batch_size = max(config.train.batch_size // 4, 4)
        config.eval.update(chunk_seconds=10.0, overlap=0.5)
    if "carry_over" in chosen:
        config.train.update(sequence=4, batch_size=max(config.train.batch_size // 4, 4))
        config.eval.overlap = 0.5
    return config
