"""Opens the data sets that a config names."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audioslots_jax.data.libri2mix import SPLITS, Libri2Mix
from audioslots_jax.data.mixing import DynamicMixing, OfficialMixing
from audioslots_jax.data.mixtures import Mixtures, fingerprint
from audioslots_jax.data.recordings import HELD_OUT, TRAIN, is_divided, scan
from audioslots_jax.data.speakers import Speakers, hold_out
from audioslots_jax.data.store import Packed, Store, is_store, read_index
from audioslots_jax.data.utterances import open_root
from audioslots_jax.data.voices import Voices
from audioslots_jax.errors import UserError


class Opened(NamedTuple):
    """The data of a run.

    Attributes:
      train: mixtures to train on.
      held_out: mixtures of voices, speakers or rows that training never draws.
      fingerprint: changes with the recordings examples are drawn from, not with where they lie.
    """

    train: Mixtures
    held_out: Mixtures
    fingerprint: str


def open_data(config: Any) -> Opened:
    """The data that ``config.data`` names.

    Raises:
      UserError: if there are no recordings to train on, or too few speakers.
    """
    return KINDS[config.kind](config, round(config.crop_seconds * config.sample_rate))


def _open_voices(config: Any, samples: int) -> Opened:
    shape = {"sample_rate": config.sample_rate, "samples": samples, "sources": config.sources}
    return Opened(Voices(**shape), Voices(**shape, held_out=True), "")


def _open_libri2mix(config: Any, samples: int) -> Opened:
    """The store or folder of ``config.root``; held-out mixtures are official ones in any case."""
    root = open_root(config.root)
    official = functools.partial(Libri2Mix, root, mode="max", allow_missing=config.allow_missing)
    held_out = official(split=config.eval_split)
    train: Mixtures
    parts: list[object]
    if config.mixing == "dynamic":
        utterances, parts = _open_split(root, config.split, samples)
        train = DynamicMixing(utterances, samples=samples, silence=config.silence)
    else:
        mixtures = official(split=config.split)
        train = OfficialMixing(mixtures, samples=samples, silence=config.silence)
        parts = [(row.mixture_id, row.gains) for row in mixtures.rows]
    return Opened(
        train,
        OfficialMixing(held_out, samples=samples, silence="redraw"),
        fingerprint([*parts, *((row.mixture_id, row.gains) for row in held_out.rows)]),
    )


def _open_split(store: Path | Store, split: str, samples: int) -> tuple[Packed, list[object]]:
    """The utterances of a split that dynamic mixing can use, and what tells them from others."""
    if isinstance(store, Path):
        raise UserError(
            "data.mixing: dynamic mixing needs to know how loud each utterance is; run `audioslots "
            f"prepare {store} --output STORE` once, and train with --config.data.root=STORE."
        )
    subset = np.char.startswith(store.table["name"], f"{SPLITS[split]}/".encode())
    if not subset.any():
        raise UserError(
            f"data.split: the store {store.path} has no utterances of {SPLITS[split]}; add them to "
            "LibriSpeech/ and prepare it again."
        )
    usable = subset & np.isfinite(store.table["loudness"]) & (store.table["frames"] >= samples)
    table = store.table[usable]
    parts = zip(table["name"].tolist(), table["frames"].tolist(), strict=True)
    return store.select(np.flatnonzero(usable)), list(parts)


def _open_speakers(config: Any, samples: int) -> Opened:
    """Prints what it found, and what it had to leave out."""
    shape = {"sample_rate": config.sample_rate, "samples": samples}
    root, eval_root = _roots(config)
    train, summary = scan(root, field="data.root", **shape)
    print(summary)
    if eval_root:
        held_out, summary = scan(eval_root, field="data.eval_root", **shape)
        print(summary)
    else:
        train, held_out = hold_out(train, config.sources)
        print(f"held out: speakers {', '.join(sorted(held_out))}.")
    for folder, found in ((root, train), (eval_root, held_out)):
        if len(found) < config.sources:
            raise UserError(
                f"{folder} has usable recordings of {len(found)} speaker(s), but a mixture needs "
                f"{config.sources} different ones (data.sources)."
            )
    if config.eval_root:
        trained, scored = (
            {recording.path.resolve() for of_speaker in part.values() for recording in of_speaker}
            for part in (train, held_out)
        )
        if shared := trained & scored:
            raise UserError(
                f"data.eval_root: {len(shared)} recordings are trained on too ({min(shared)}); "
                "name a folder of other speakers."
            )
    recordings = [
        (part, speaker, recording.path.name, recording.frames, recording.sample_rate)
        for part, found in ((TRAIN, train), (HELD_OUT, held_out))
        for speaker, of_speaker in found.items()
        for recording in of_speaker
    ]
    return Opened(
        Speakers(train, **shape, sources=config.sources),
        Speakers(held_out, **shape, sources=config.sources, active=True),
        fingerprint(recordings),
    )


def _roots(config: Any) -> tuple[Path, Path | None]:
    root = Path(config.root).expanduser()
    if config.eval_root:
        return root, Path(config.eval_root).expanduser()
    divided = is_divided(root)
    if is_store(root):
        divided = {TRAIN, HELD_OUT} <= set(read_index(root)["subsets"])
    return (root / TRAIN, root / HELD_OUT) if divided else (root, None)


KINDS = {"voices": _open_voices, "speakers": _open_speakers, "libri2mix": _open_libri2mix}
