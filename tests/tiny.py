"""The voices config with the smallest sizes that use every part of it."""

from ml_collections import ConfigDict

from configs import voices


def get_config() -> ConfigDict:
    """The experiment; a step takes milliseconds."""
    config = voices.get_config()
    config.data.crop_seconds = 0.12
    config.model.encoder.update(
        blocks=(1,), widths=(8,), strides=(4,), root_width=8, root_stride=2, groups=4
    )
    config.model.slot_module.update(slot_size=16, layers=1, width=16, heads=2, mlp=16)
    config.model.decoder.update(layers=2, width=8)
    config.train.update(steps=12, batch_size=4, warmup_steps=2, remat_decoder=False)
    config.train.update(log_every=3, eval_every=6, checkpoint_every=4)
    config.eval.update(mixtures=6, examples=0)
    return config


def get_counting_config() -> ConfigDict:
    """The same of a model that says which of three slots hold a source."""
    config = get_config()
    config.data.update(sources=3)
    config.model.update(slots=3, presence=True)
    return config
