"""Learns to separate two speakers, from any folder of recordings with one folder per speaker.

python main.py --config=configs/speakers.py --config.data.root=DIR --workdir=runs/speakers
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The experiment."""
    config = ConfigDict()
    config.seed = 0
    config.data = ConfigDict(
        {
            "kind": "speakers",
            "root": "",
            "eval_root": "",
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
                "strides": (1, 2, 2, 2),
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
                "frequency_octaves": 7,
                "time_octaves": 5,
            },
        }
    )
    config.matching = ConfigDict({"solver": "exhaustive"})
    config.train = ConfigDict(
        {
            "steps": 3000,
            "batch_size": 16,
            "learning_rate": 2e-3,
            "warmup_steps": 200,
            "clip_norm": 0.0,
            "log_every": 50,
            "eval_every": 250,
            "checkpoint_every": 250,
            "keep_checkpoints": 2,
        }
    )
    config.eval = ConfigDict({"mixtures": 256, "mask": "wiener", "examples": 4})
    return config
