"""Opens the data sets that a config names."""

from pathlib import Path
from typing import Any

from audioslots_jax.data.libri2mix import SAMPLE_RATE, Libri2Mix, read_rows
from audioslots_jax.data.mixtures import Mixtures
from audioslots_jax.data.speakers import Speakers, hold_out, scan
from audioslots_jax.data.voices import Voices
from audioslots_jax.errors import UserError

# A folder that brings its own division into speakers to train on and others to score.
TRAIN, HELD_OUT = "train", "dev"


def open_mixtures(config: Any) -> tuple[Mixtures, Mixtures]:
    """Mixtures to train on and held-out mixtures, from ``config.data``.

    Raises:
      UserError: if there are no recordings to train on, or too few speakers.
    """
    return KINDS[config.kind](config, round(config.crop_seconds * config.sample_rate))


def _open_voices(config: Any, samples: int) -> tuple[Mixtures, Mixtures]:
    shape = {"sample_rate": config.sample_rate, "samples": samples, "sources": config.sources}
    return Voices(**shape), Voices(**shape, held_out=True)


def _open_libri2mix(config: Any, samples: int) -> tuple[Mixtures, Mixtures]:
    root = Path(config.root).expanduser()
    if config.sample_rate != SAMPLE_RATE:
        raise UserError(
            f"config.data.sample_rate is {config.sample_rate}; it must be {SAMPLE_RATE}."
        )
    train, held_out = read_rows(root, config.split), read_rows(root, config.eval_split)
    return Libri2Mix(train, samples=samples), Libri2Mix(held_out, samples=samples, active=True)


def _open_speakers(config: Any, samples: int) -> tuple[Mixtures, Mixtures]:
    """Prints what it found, and what it had to leave out."""
    shape = {"sample_rate": config.sample_rate, "samples": samples}
    train_root, eval_root = _roots(config)
    train, summary = scan(train_root, **shape, progress=True)
    print(summary)
    if eval_root:
        held_out, summary = scan(eval_root, **shape, progress=True)
        print(summary)
    else:
        train, held_out = hold_out(train, config.sources)
        print(f"held out: speakers {', '.join(sorted(held_out))}.")
    for root, found in ((train_root, train), (eval_root, held_out)):
        if len(found) < config.sources:
            raise UserError(
                f"{root} has usable recordings of {len(found)} speaker(s), but a mixture needs "
                f"{config.sources} different ones (data.sources)."
            )
    return (
        Speakers(train, **shape, sources=config.sources),
        Speakers(held_out, **shape, sources=config.sources, active=True),
    )


def _roots(config: Any) -> tuple[Path, Path | None]:
    root = Path(config.root).expanduser()
    if config.eval_root:
        return root, Path(config.eval_root).expanduser()
    if (root / TRAIN).is_dir() and (root / HELD_OUT).is_dir():
        return root / TRAIN, root / HELD_OUT
    return root, None


KINDS = {"voices": _open_voices, "speakers": _open_speakers, "libri2mix": _open_libri2mix}
