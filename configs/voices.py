"""Learns to separate two sung voices that the program makes itself.

    python main.py --config=configs/voices.py --workdir=runs/voices

5 minutes on two CPU cores (8.4 on slower ones), 11.1 dB SI-SNRi on 128 validation mixtures; oracle
masks reach 17.9 dB (seed 0, crops of 0.5 s at 8 kHz, 2.05 M parameters, a virtual machine on an AMD
EPYC).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The experiment."""
    config = ConfigDict()
    config.seed = 0
    config.mesh = "data"  # or fsdp: parameters and optimiser divided over the devices
    config.precision = "float32"  # or bfloat16: of activations and products
    config.profile = 0  # steps to trace
    config.data = ConfigDict(
        {
            "kind": "voices",
            "sources": 2,
            "sample_rate": 8000,
            "crop_seconds": 0.5,
            "workers": 1,
        }
    )
    config.stft = ConfigDict({"window": 256, "hop": 128, "edges": "centred", "power": 0.3})
    config.model = ConfigDict(
        {
            "slots": 2,
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
            "batch_size": 8,
            "learning_rate": 3e-3,
            "warmup_steps": 200,
            "clip_norm": 0.0,
            "micro_batches": 1,
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
    return config
