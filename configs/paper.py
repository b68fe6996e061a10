"""The experiment of the AudioSlots paper (Reddy et al. 2023), section 3 and Table 1, to the letter.

    audioslots prepare ROOT --output STORE
    python main.py --config=configs/paper.py --config.data.root=STORE --workdir=runs/paper

``ROOT`` holds ``LibriSpeech/`` (train-clean-360 and dev-clean) and the official metadata in
``metadata/Libri2Mix/``. Training also reads ROOT itself, at a twentieth of the speed. Two
variations, alone or together:

    --config=configs/paper.py:one_second      the 1 s ablation
    --config=configs/paper.py:autoencoder     one slot, one clean source at a time: the ceiling

On an accelerator add --config.precision=bfloat16. A step takes 10.4 TFLOP; on one device XLA's CPU
compiler plans 32 GiB for activations and gradients beside 1.2 GiB of parameters and moments, in
either precision (audioslots doctor).

108,768,449 parameters, 300,000 steps. No time and no score are promised: this code has not trained
it to the end yet. The paper reports 9.x dB SI-SNRi, 9.x to 10.x for 1 s and 10.x for the
autoencoder, on whole test mixtures whose chunks it orders by the ground truth; the scores that this
training prints are of single crops of dev-clean. Matching is scipy's, in a host callback: on a CPU
a step takes up to 8 % longer than with --config.matching.solver=exhaustive, which assigns alike,
and every start compiles it again, for JAX cannot keep it in its compilation cache.

Training mixes the official pairs; --config.data.mixing=dynamic makes new pairs of train-360's
utterances in every epoch, at levels as in LibriMix (from a store only). The paper does not say what
it does with crops in which a source is silent, as after the end of the shorter utterance: of 30
official rows of train-100, 28 % of the crops (and 3 % have no sound at all). They are kept, with
silence as the target; --config.data.silence=redraw takes another place in the mixture instead.
Held-out crops are always official and never silent, for silence has no SI-SNR.

Where the paper is silent, sizes are fields below with the values that this project chose; group
norm, pre-norm layers, ReLU, the 3x3 root block without pooling and the choice of the first 256 of
257 bins are fixed in the code.
"""

from ml_collections import ConfigDict

from audioslots_jax.variations import parse

VARIATIONS = ("one_second", "autoencoder")


def get_config(variations: str = "") -> ConfigDict:
    """The experiment; ``variations`` are names in `VARIATIONS`, divided by commas."""
    chosen = parse(variations, VARIATIONS, "paper")
    autoencoder = "autoencoder" in chosen

    config = ConfigDict()
    config.seed = 0
    config.mesh = "data"  # or fsdp: parameters and optimiser divided over the devices
    config.precision = "float32"  # or bfloat16: of activations and products
    config.profile = 0  # steps to trace
    config.data = ConfigDict(
        {
            "kind": "libri2mix",
            "root": "",
            "split": "train-360",
            "eval_split": "dev",  # chooses the best checkpoint
            "test_split": "test",  # for --mode=evaluate alone
            "mixing": "official",  # or dynamic: new pairs and levels in every epoch
            "silence": "keep",  # or redraw: no crops in which a source is silent
            "allow_missing": False,  # train on the mixtures whose utterances are there
            "sources": 2,
            "sample_rate": 16000,
            "crop_seconds": 1.0 if "one_second" in chosen else 0.5,
            "workers": 2,
        }
    )
    config.stft = ConfigDict({"window": 512, "hop": 125, "edges": "chunk_edge", "power": 0.3})
    config.model = ConfigDict(
        {
            "slots": 1 if autoencoder else 2,
            "presence": False,  # of sources in slots, as probabilities
            "mute": False,  # slots, as far as they are said to hold no source
            "encoder": {
                "name": "resnet",
                "blocks": (3, 4, 6, 3),
                "widths": (64, 128, 256, 512),
                "strides": (1, 2, 2, 2),
                "root_width": 64,
                "root_stride": 1,
                "groups": 32,
            },
            "slot_module": {
                "name": "query_transformer",
                "slot_size": 4096,
                "layers": 4,
                "width": 512,
                "heads": 8,
                "mlp": 1024,
                "frequency_octaves": 5,
                "time_octaves": 3,
            },
            "decoder": {
                "name": "spatial_broadcast",
                "layers": 5,
                "width": 256,
                "frequency_octaves": 8,
                "time_octaves": 6,
            },
        }
    )
    config.objectives = ConfigDict({"matched_magnitude": {"weight": 1.0}})
    config.matching = ConfigDict({"solver": "scipy"})  # in a host callback
    config.optimizer = ConfigDict({"name": "adam"})
    config.train = ConfigDict(
        {
            "steps": 300_000,
            "start_from": "",  # a run whose parameters it begins with
            # The autoencoder sees both sources of a mixture, each alone: 64 items either way.
            "batch_size": 32 if autoencoder else 64,
            "learning_rate": 2e-4,
            "warmup_steps": 2500,
            "clip_norm": 0.0,
            "micro_batches": 1,
            "sequence": 1,
            "with_sources": 1.0,
            "ema_decay": 0.0,
            "remat_decoder": False,
            "log_every": 100,
            "eval_every": 5000,
            "checkpoint_every": 1000,
            "keep_checkpoints": 3,
        }
    )
    config.eval = ConfigDict(
        {
            "mixtures": 512,
            "mask": "wiener",
            "chunk_seconds": 0.0,  # of recordings; 0 for that of a crop
            "overlap": 0.75,
            "examples": 4,
            "evaluators": ("autoencoder" if autoencoder else "separation", "oracle_masks"),
        }
    )
    return config
