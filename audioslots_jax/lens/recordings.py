"""Pages about recordings that a model took apart, without any truth."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from jaxtyping import Float

from audioslots_jax.data.recordings import readable
from audioslots_jax.data.sound_files import SoundFile
from audioslots_jax.errors import UserError
from audioslots_jax.inference.files import SeparatedFile, separate_file
from audioslots_jax.inference.recordings import RecordingSeparator
from audioslots_jax.inference.trace import Trace
from audioslots_jax.lens import embeddings
from audioslots_jax.lens.apart import Apart, chunks, joined
from audioslots_jax.lens.cards import card
from audioslots_jax.lens.page import Section, render
from audioslots_jax.lens.runs import where_slots_look
from audioslots_jax.lens.sounds import page_rate, resample

LONGEST = 1800.0  # seconds of a recording that a page holds


class Model(NamedTuple):
    """A model, by the name it has on the page; empty where it is the only one."""

    name: str
    separator: RecordingSeparator


def recordings_page(
    models: Sequence[Model], paths: Sequence[Path], about: Sequence[Section] = ()
) -> bytes:
    """Returns a page of recordings, each taken apart by every model; other sections come first.

    Raises:
      UserError: if a recording cannot be read or separated.
    """
    parts = [*about]
    for path in paths:
        made = []
        for model in models:
            with tempfile.TemporaryDirectory() as folder:
                shown = beginning(path, Path(folder))
                slots = range(1, model.separator.separator.slots + 1)
                outputs = [Path(folder, "slots", f"{slot}{shown.suffix}") for slot in slots]
                trace = new_trace(model.separator)
                separated = separate_file(model.separator, shown, outputs, True, trace=trace)
                made.append(_apart(model, separated, trace))
        parts += _sections(path, models, made, several=len(paths) > 1)
    return render(", ".join(readable(path.name) for path in paths), [], parts)


def separated_page(
    separator: RecordingSeparator, path: Path, separated: SeparatedFile, trace: Trace
) -> bytes:
    """Returns the page of a recording that was separated into files.

    Raises:
      UserError: if a file cannot be read any more.
    """
    model = Model("", separator)
    return render(
        readable(path.name), [], _sections(path, [model], [_apart(model, separated, trace)])
    )


def new_trace(separator: RecordingSeparator) -> Trace:
    """Returns a trace of as many chunks as a page shows of a recording."""
    return Trace(chunks(separator, LONGEST))


def beginning(path: Path, folder: Path) -> Path:
    """Returns a recording that a page holds all of, or else a file in a folder with that much.

    Raises:
      UserError: if it cannot be read, or the file cannot be written.
    """
    with SoundFile(path) as file:
        left = round(LONGEST * file.sample_rate)
        if file.frames <= left:
            return path
        shown = folder / f"{path.stem}.wav"
        form = {"subtype": "FLOAT", "format": "RF64"}  # of any length
        try:
            with soundfile.SoundFile(shown, "w", file.sample_rate, 1, **form) as written:
                for block in file.blocks():
                    written.write(block.mean(axis=0)[:left])
                    left -= block.shape[1]
                    if left <= 0:
                        return shown
        except (soundfile.SoundFileError, OSError) as error:
            raise UserError(f"{shown} cannot be written ({error}); free some space.") from None
    return shown


def heard(path: Path) -> tuple[Float[np.ndarray, " sample"], int, float]:
    """Returns up to `LONGEST` of a recording, mixed down, at a page's rate, and its whole length.

    Rate and length are in Hz and seconds.
    """
    with SoundFile(path) as file:
        rate = page_rate(file.sample_rate)
        stream = soxr.ResampleStream(file.sample_rate, rate, 1, dtype="float32")
        most, parts = round(LONGEST * rate), [np.zeros((0, 1), np.float32)]
        for block in file.blocks():
            parts.append(stream.resample_chunk(np.ascontiguousarray(block.mean(axis=0)[:, None])))
            if sum(map(len, parts)) >= most:
                break
        else:
            parts.append(stream.resample_chunk(np.zeros((0, 1), np.float32), last=True))
        seconds = file.frames / file.sample_rate
    return np.concatenate(parts)[:most, 0], rate, seconds


def _apart(model: Model, separated: SeparatedFile, trace: Trace) -> Apart:
    sounds = [heard(path) for path in separated.outputs]
    seconds = max((len(samples) / rate for samples, rate, _ in sounds), default=0.0)
    estimates = np.stack([samples for samples, *_ in sounds]) if sounds else np.zeros((0, 1))
    probabilities = separated.probabilities if model.separator.counts else None
    return Apart(
        model.name, separated.slots, estimates, probabilities,
        joined(model.separator, trace, seconds),
    )  # fmt: skip


def _sections(
    path: Path, models: Sequence[Model], made: Sequence[Apart], *, several: bool = False
) -> list[Section]:
    """Returns the parts of a page about a recording, which is named where there are several."""
    mixture, rate, seconds = heard(path)
    facts = ["No truth is known of it, so there are no scores"]
    if seconds > LONGEST:
        facts.append(f"The first {LONGEST / 60:.0f} minutes of {seconds / 60:.0f}")
    name = readable(path.name)
    shown = card(name, facts, mixture, np.zeros((0, len(mixture))), (), made, rate)
    parts = [Section(f"Listen: {name}" if several else "Listen", cards=[shown])]
    for model, apart in zip(models, made, strict=True):
        at_rate = resample(mixture, rate, model.separator.sample_rate).astype(np.float32)
        title = f"{name}, {model.name}" if model.name else name
        names = [f"slot {slot + 1}" for slot in apart.slots]
        clouds = embeddings.over_time(apart.joined, apart.slots, names) if apart.slots else None
        about = [where_slots_look(model.separator, [(title, at_rate)]), clouds]
        suffix = f": {title}" if several or len(models) > 1 else ""
        parts += [part._replace(title=part.title + suffix) for part in about if part]
    return parts
