"""From a run of configs/compact.py to the folder that travels with the package."""

import copy
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from audioslots_jax import separator as separators
from audioslots_jax.inference import RecordingSeparator, packaged
from configs import compact

Tree = dict[str, Any]


def export(run: RecordingSeparator, workdir: Path, card: Tree, folder: Path) -> None:
    """Writes a run's model into a folder, cut as `configs/compact.py` cuts recordings today."""
    config, params = separating(dict(run.config), run.params)
    cut = compact.get_config("count" if run.counts else "").eval
    config["eval"].update({name: cut[name] for name in ("chunk_seconds", "overlap")})
    card = {"step": run.step, "score": run.score, **card}
    packaged.export(params, config, workdir, folder, card)


def separating(config: Tree, params: Tree) -> tuple[Tree, Tree]:
    """Returns config and parameters of the same separator, less what only training uses.

    These are the embeddings, and taps of convolutions that reach beyond a crop: they were never
    trained, and would be heard in longer recordings.
    """
    config = copy.deepcopy(config)
    encoder = config["model"]["encoder"]
    encoder["embedding"] = 0
    config["objectives"].pop("affinity", None)
    samples = round(config["data"]["crop_seconds"] * config["data"]["sample_rate"])
    separator = separators.build(config, samples)
    like = jax.eval_shape(lambda: separator.init(jax.random.key(0), samples))
    kept = _within(params, like)
    frames = separator.front_end.stft.frames(samples)
    for block in range(1, encoder["blocks"] + 1):
        if 2 ** ((block - 1) % encoder["cycle"]) >= frames:
            own = kept["params"]["encoder"][f"block{block}"]
            own["taps"] = own["taps"].at[jnp.array([0, 2])].set(0)
    return config, kept


def _within(params: Any, like: Any) -> Any:
    """Returns the part of a tree of parameters that another tree has."""
    if not isinstance(like, dict):
        return params
    return {name: _within(params[name], part) for name, part in like.items()}
