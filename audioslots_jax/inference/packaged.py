"""Models that travel: the parameters alone, in half precision, beside the config of their run."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from audioslots_jax.errors import UserError
from audioslots_jax.workdir import CONFIG, DATA, ROOTS

WEIGHTS = Path(__file__).parents[1] / "weights"  # what the package itself brings
COMPACT, COUNT = WEIGHTS / "compact", WEIGHTS / "count"  # of two people; of up to three
PARAMETERS, CARD = "parameters.npz", "card.json"
DAMAGE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)


def folder_of(model: str | Path) -> Path:
    """Returns the folder of a run or an exported model, or of one that the package brings.

    The latter have names, which are strings; a `Path` is always that of a folder. One that only has
    such a name, like that of a store, is no model.
    """
    folder = Path(model).expanduser()
    own = WEIGHTS / folder.name
    named = model == folder.name and (own / CONFIG).exists()
    return own if named and not (folder / CONFIG).exists() else folder


def export(params: Any, config: dict[str, Any], workdir: Path, folder: Path, card: Any) -> None:
    """Writes what `load` needs into a folder.

    Args:
      params: of the model; none but those that separating uses.
      config: that describes this model; paths of recordings and of another run are left out.
      workdir: of the run, for what it remembers of its data.
      folder: made if it does not exist.
      card: what is to be known of the model, as JSON: its ``step`` and ``score``, and the rest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.asarray(array, np.float16) for name, array in flat(params).items()}
    np.savez_compressed(folder / PARAMETERS, **arrays)  # type: ignore[arg-type]
    paths = (*ROOTS, "start_from")
    parts = {
        name: {field: value for field, value in config.get(name, {}).items() if field not in paths}
        for name in ("data", "train")
    }
    (folder / CONFIG).write_text(json.dumps({**config, **parts}, indent=2) + "\n")
    (folder / DATA).write_bytes((workdir / DATA).read_bytes())
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")


def read(folder: Path, like: Any) -> tuple[Any, int, float | None]:
    """Returns the parameters of an exported model, of the shapes of ``like``, its step and score.

    Raises:
      UserError: if they cannot be read, or are of another model.
    """
    try:
        with open(folder / PARAMETERS, "rb") as opened, np.load(opened) as file:
            arrays = {name: file[name] for name in file.files}
        wanted = flat(like)
        if {n: x.shape for n, x in wanted.items()} != {n: x.shape for n, x in arrays.items()}:
            raise ValueError("it holds another model than config.json describes")
    except DAMAGE as error:
        raise UserError(f"{folder / PARAMETERS} cannot be read ({error}).") from None
    try:
        card = json.loads((folder / CARD).read_text())
        step, score = int(card["step"]), card["score"]
    except (*DAMAGE, TypeError) as error:
        raise UserError(f"{folder / CARD} cannot be read ({error}).") from None
    params = [jnp.asarray(arrays[name], leaf.dtype) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), params), step, score


def flat(params: Any) -> dict[str, Any]:
    """Returns arrays by names such as ``params/encoder/input/kernel``, in the order of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in leaves}
