"""Opens the data sets that a config names."""

from pathlib import Path
from typing import Any, NamedTuple

from audioslots_jax.data.libri2mix import Libri2Mix, read_rows
from audioslots_jax.data.mixtures import Mixtures, fingerprint
from audioslots_jax.data.recordings import scan
from audioslots_jax.data.speakers import Speakers, hold_out
from audioslots_jax.data.voices import Voices
from audioslots_jax.errors import UserError

# A folder that brings its own division into speakers to train on and others to score.
TRAIN, HELD_OUT = "train", "dev"


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
    root = Path(config.root).expanduser()
    train, held_out = read_rows(root, config.split), read_rows(root, config.eval_split)
    return Opened(
        Libri2Mix(train, samples=samples),
        Libri2Mix(held_out, samples=samples, active=True),
        fingerprint((row.mixture_id, row.gains) for row in [*train, *held_out]),
    )


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
    paths = [{r.path.resolve() for rs in part.values() for r in rs} for part in (train, held_out)]
    if shared := paths[0] & paths[1]:
        raise UserError(
            f"data.eval_root: {len(shared)} recordings are trained on too ({min(shared)}); name a "
            "folder of other speakers."
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
    if (root / TRAIN).is_dir() and (root / HELD_OUT).is_dir():
        return root / TRAIN, root / HELD_OUT
    return root, None


KINDS = {"voices": _open_voices, "speakers": _open_speakers, "libri2mix": _open_libri2mix}
