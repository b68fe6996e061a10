"""Learns to separate two speakers, from any folder of recordings with one folder per speaker.

    python main.py --config=configs/speakers.py --config.data.root=DIR --workdir=runs/speakers

``DIR`` may also be a store that ``audioslots prepare`` made of such a folder.

10 minutes on two CPU cores for 4.45 h of LibriSpeech (241 speakers): SI-SNRi rises from 0.5 dB
after one minute to 1.0 dB, on 256 mixtures of 13 other speakers; oracle masks reach 15.5 dB (seed
0, crops of 0.5 s at 8 kHz, 2.05 M parameters, a virtual machine on an AMD EPYC; measured when all
held-out speakers were for validation, of whom half are now kept for the test). A beginning that
shows real speech going through; a useful separation takes a larger network and more time.
"""

from ml_collections import ConfigDict

from configs import voices


def get_config() -> ConfigDict:
    """The experiment: the network of configs/voices.py on longer frames, which resolve speech."""
    config = voices.get_config()
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
    config.stft.update(window=512, hop=256)
    config.model.decoder.update(frequency_octaves=8, time_octaves=4)
    config.train.update(steps=4000, learning_rate=1e-3)
    config.eval.mixtures = 256
    return config
