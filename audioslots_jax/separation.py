"""Recordings in, separated recordings out: a trained model on audio of any length and rate.

Chunks of the length the model was trained on overlap by three quarters. A batch of them at a time
goes through the network; `audio.blind_order` brings their slots into one order without any ground
truth (the paper, section 3, takes it from the true sources), and they are faded into each other.
What is kept in memory does not depend on the length of the recording.
"""

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import soxr
from jaxtyping import Array, Float, Float32
from ml_collections import ConfigDict

from audioslots_jax.audio import (
    MASKS,
    apply_masks,
    blind_order,
    compress,
    expand,
    order_like,
    reorder,
)
from audioslots_jax.audio.chunks import blind_hop, count, fade
from audioslots_jax.data.files import write_atomically
from audioslots_jax.data.sound_files import SoundFile
from audioslots_jax.errors import UserError
from audioslots_jax.progress import progress
from audioslots_jax.training.checkpoints import restore_params
from audioslots_jax.training.config import check
from audioslots_jax.training.step import Task, make_task
from audioslots_jax.training.workdir import CHECKPOINTS, CONFIG

BATCH = 32  # chunks that go through the network together
MASK = "wiener"
MOST_CHANNELS = 64  # more are samples, in an array that lies on its side

Waveform = Float32[np.ndarray, "channel sample"]
Separated = Float32[np.ndarray, "slot channel sample"]


@dataclasses.dataclass(frozen=True)
class Separator:
    """A trained model, ready to separate.

    Attributes:
      task: the network and its front end.
      params: its parameters.
      config: of the run it comes from: data, sampling rate, STFT, model.
      step: of the training, after which the parameters were saved.
      score: SI-SNRi in dB on held-out crops at that step; None if it was not scored there.
    """

    task: Task
    params: Any
    config: ConfigDict
    step: int
    score: float | None

    @property
    def sample_rate(self) -> int:
        """Of the model, in Hz."""
        return int(self.config.data.sample_rate)

    @property
    def chunk(self) -> int:
        """Length of a chunk in samples at the model's rate."""
        return round(self.config.data.crop_seconds * self.sample_rate)

    def __call__(
        self,
        recording: str | Path | np.ndarray | Iterable[np.ndarray],
        sample_rate: int | None = None,
    ) -> Float32[np.ndarray, "slot *channel sample"] | Iterator[Separated]:
        """Separates a recording.

        Args:
          recording: a path; or samples, shaped (sample,) or (channel, sample), with full scale at
            1; or an iterable of blocks of shape (channel, sample). Every channel is separated, and
            slots are in the same order in all of them.
          sample_rate: of samples or blocks, in Hz.

        Returns:
          One recording per slot, as long as the input and at its rate: (slot, channel, sample), or
          (slot, sample) for samples of shape (sample,). For blocks, an iterator over blocks, which
          come later than their input and are of other lengths.

        Raises:
          UserError: if a file cannot be read, samples are not finite, or the model is an
            autoencoder.
          ValueError: if samples come without a rate, or are not shaped as above.
        """
        if isinstance(recording, str | Path):
            with SoundFile(Path(recording).expanduser()) as file:
                return _whole(self.stream(file.blocks(), file.sample_rate))
        if sample_rate is None:
            raise ValueError("samples need a sample_rate in Hz.")
        if not isinstance(recording, np.ndarray | jax.Array):
            return self.stream(recording, sample_rate)
        samples = np.asarray(recording, np.float32)
        channels = 1 if samples.ndim == 1 else len(samples)
        if samples.ndim not in (1, 2) or not samples.size or channels > MOST_CHANNELS:
            raise ValueError(
                f"samples are (sample,) or (channel, sample), not {samples.shape}; there can be up "
                f"to {MOST_CHANNELS} channels."
            )
        separated = _whole(self.stream([np.atleast_2d(samples)], sample_rate))
        return separated[:, 0] if samples.ndim == 1 else separated

    def stream(self, blocks: Iterable[np.ndarray], sample_rate: int) -> Iterator[Separated]:
        """Separates blocks at any sampling rate, one after the other. See `__call__`."""
        blocks = _checked(blocks)
        if sample_rate == self.sample_rate:
            yield from self._separate(blocks)
            return
        taken = given = channels = 0

        def counted() -> Iterator[Waveform]:
            nonlocal taken, channels
            for block in blocks:
                channels = len(block)
                taken += block.shape[1]
                yield block

        separated = self._separate(_resample(counted(), sample_rate, self.sample_rate))
        flat = (block.reshape(-1, block.shape[2]) for block in separated)
        for block in _resample(flat, self.sample_rate, sample_rate):
            # Resampling there and back may add a sample at the end, or lose one.
            kept = block[:, : taken - given]
            given += kept.shape[1]
            yield kept.reshape(self.task.slots, channels, kept.shape[1])
        if given < taken:
            yield np.zeros((self.task.slots, channels, taken - given), np.float32)

    def _separate(self, blocks: Iterable[Waveform]) -> Iterator[Separated]:
        """Separates blocks at the model's rate."""
        if self.task.slots == 1:
            raise UserError("an autoencoder cannot separate: it needs the sources to be apart.")
        hop = blind_hop(self.chunk)
        step, span = BATCH * hop, (BATCH - 1) * hop + self.chunk
        joiner: _Joiner | None = None
        waiting: np.ndarray | None = None
        for block in blocks:
            waiting = block if waiting is None else np.concatenate([waiting, block], axis=1)
            joiner = joiner or _Joiner(self, len(waiting), hop)
            while waiting.shape[1] >= span:
                yield joiner.add(waiting[:, :span])
                waiting = waiting[:, step:]
        while waiting is not None and joiner is not None and (left := waiting.shape[1]):
            padded = np.pad(waiting, ((0, 0), (0, max(span - left, 0))))
            yield joiner.add(padded, count(left, self.chunk, hop))[..., :left]
            waiting = waiting[:, step:]


class Previous(NamedTuple):
    """The chunk that others continue: its first channel's estimates and slots, in order."""

    estimates: Float[Array, "slot length"]
    slots: Float[Array, "slot embedding"]


class _Joiner:
    """Separates one batch of chunks after the other, and fades them into each other."""

    def __init__(self, separator: Separator, channels: int, hop: int):
        self._separator, self._hop = separator, hop
        slots, length = separator.task.slots, separator.chunk
        embedding = separator.config.model.slot_module.slot_size
        self._previous = Previous(jnp.zeros((slots, length)), jnp.zeros((slots, embedding)))
        self._fade = fade(length).astype(np.float32)
        # What earlier chunks have given to samples that later ones reach too.
        self._sum = np.zeros((slots, channels, length - hop), np.float32)
        self._weight = np.zeros(length - hop, np.float32)

    def add(
        self, samples: Waveform, chunks_with_sound: int = BATCH
    ) -> Float32[np.ndarray, "slot channel done"]:
        """The samples that no later chunk reaches: as many as a batch's chunks begin within."""
        length, hop = self._separator.chunk, self._hop
        starts = range(0, BATCH * hop, hop)
        chunks = np.stack([samples[:, start : start + length] for start in starts])
        ordered, self._previous = separate_chunks(
            self._separator.task, hop, self._separator.params, chunks, self._previous
        )
        sums = np.zeros((*self._sum.shape[:2], samples.shape[1]), np.float32)
        weights = np.zeros(samples.shape[1], np.float32)
        sums[..., : length - hop], weights[: length - hop] = self._sum, self._weight
        for start, chunk in list(zip(starts, np.asarray(ordered), strict=True))[:chunks_with_sound]:
            sums[..., start : start + length] += self._fade * chunk
            weights[start : start + length] += self._fade
        done = BATCH * hop
        self._sum, self._weight = sums[..., done:], weights[done:]
        # Past the end of the recording no chunk has given anything; that is cut off later.
        return sums[..., :done] / np.maximum(weights[:done], 1e-9)


@functools.partial(jax.jit, static_argnums=(0, 1))
def separate_chunks(
    task: Task,
    hop: int,
    params: Any,
    mixtures: Float[Array, "chunk channel length"],
    previous: Previous,
) -> tuple[Float[Array, "chunk slot channel length"], Previous]:
    """Estimates of chunks that start ``hop`` samples apart, in one order.

    Args:
      task: the network and its front end.
      hop: below the length of a chunk.
      params: the network's parameters.
      mixtures: the chunks.
      previous: the chunk before the first.

    Returns:
      The estimates, and the last chunk.
    """
    chunks, channels, length = mixtures.shape
    spectrograms = task.stft(mixtures.reshape(-1, length))
    outputs: Any = task.model.apply(params, compress(spectrograms, task.power))
    masks = MASKS[MASK](expand(outputs.spectrograms, task.power))
    estimates = task.stft.inverse(apply_masks(masks, spectrograms), length)
    estimates = estimates.reshape(chunks, channels, -1, length)
    # The first channel leads.
    first = jnp.concatenate([previous.estimates[None], estimates[:, 0]])
    slots = outputs.slots.reshape(chunks, channels, *outputs.slots.shape[1:])[:, 0]
    slots = jnp.concatenate([previous.slots[None], slots])
    order = blind_order(first, hop, slots, task.stft)
    ordered = reorder(first, order)[1:]
    # The other channels hear the same sources.
    aligned = [ordered] + [
        reorder(estimates[:, channel], order_like(estimates[:, channel], ordered))
        for channel in range(1, channels)
    ]
    last = Previous(ordered[-1], reorder(slots, order)[-1])
    return jnp.stack(aligned, axis=2), last


def separate_file(
    separator: Separator,
    path: Path,
    outputs: Sequence[Path],
    mix_down: bool,
    picture: Path | None = None,
) -> None:
    """Separates a file into one file per slot, of the same format, rate and length.

    Shows a progress bar. The files appear when all of them are whole.

    Args:
      separator: the model.
      path: the recording.
      outputs: a file for each slot.
      mix_down: make one channel of several, rather than separate each.
      picture: where to draw the spectrograms of recording and slots, as a PNG file.

    Raises:
      UserError: if the recording cannot be read, or a file cannot be written.
    """
    from audioslots_jax.training import pictures  # and with it matplotlib, which `load` is spared

    with SoundFile(path) as file:
        channels = 1 if mix_down else file.channels
        names = [path.name, *(output.name for output in outputs)] if picture else []
        sketches = [pictures.Sketch(file.frames, file.sample_rate) for _ in names]
        bar = progress(total=file.frames, desc=path.name, unit="s", unit_scale=1 / file.sample_rate)

        def blocks() -> Iterator[Waveform]:
            for block in file.blocks():
                block = block.mean(axis=0, keepdims=True) if mix_down else block
                for sketch in sketches[:1]:
                    sketch.add(block[0])
                yield block

        with bar, file.writers(outputs, channels) as writers:
            for separated in separator.stream(blocks(), file.sample_rate):
                writers.write(separated)
                for sketch, slot in zip(sketches[1:], separated[:, 0], strict=False):
                    sketch.add(slot)
                bar.update(separated.shape[2])
        if picture is not None:
            content = pictures.png(pictures.draw_recordings(names, sketches))
            try:
                write_atomically(picture, content)
            except OSError as error:
                raise UserError(f"{picture} cannot be written ({error.strerror}).") from None


def load(workdir: str | Path) -> Separator:
    """The model of a run of ``main.py``: the best of its checkpoints that were scored.

    Args:
      workdir: the run; nothing else is needed.

    Raises:
      UserError: if it is no run, or has no checkpoint that can be read.
    """
    workdir = Path(workdir).expanduser()
    try:
        config = ConfigDict(_with_tuples(json.loads((workdir / CONFIG).read_text())))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"{workdir} is no run of main.py: its {CONFIG} cannot be read ({reason})."
        ) from None
    check(config)
    task = make_task(config)
    samples = round(config.data.crop_seconds * config.data.sample_rate)
    spectrogram = jax.ShapeDtypeStruct((1, *task.size(samples)), jnp.float32)
    like = jax.eval_shape(task.model.init, jax.random.key(0), spectrogram)
    average = config.train.ema_decay > 0
    params, step, score = restore_params(workdir / CHECKPOINTS, like, average=average)
    return Separator(task, params, config, step, score)


def _with_tuples(tree: Any) -> Any:
    """A config read from JSON, whose lists were tuples."""
    if isinstance(tree, dict):
        return {key: _with_tuples(value) for key, value in tree.items()}
    return tuple(tree) if isinstance(tree, list) else tree


def _checked(blocks: Iterable[np.ndarray]) -> Iterator[Waveform]:
    """The blocks as float32, if they can be a recording."""
    channels = None
    for block in blocks:
        samples = np.asarray(block, np.float32)
        channels = len(samples) if channels is None else channels
        if samples.ndim != 2 or len(samples) != channels:
            raise ValueError(
                f"blocks are (channel, sample), of the same channels; got {samples.shape}."
            )
        if not np.isfinite(samples).all():
            raise UserError("the recording has samples that are not finite.")
        yield samples


def _whole(blocks: Iterator[Separated]) -> Separated:
    return np.concatenate(list(blocks), axis=-1)


def _resample(blocks: Iterable[Waveform], before: int, after: int) -> Iterator[Waveform]:
    """Blocks at another sampling rate, of other lengths."""
    stream: soxr.ResampleStream | None = None
    for block in blocks:
        stream = stream or soxr.ResampleStream(before, after, len(block), dtype="float32")
        yield _channels(stream.resample_chunk(np.ascontiguousarray(block.T)))
    if stream is not None:
        yield _channels(stream.resample_chunk(np.zeros((0, len(block)), np.float32), last=True))


def _channels(samples: np.ndarray) -> Waveform:
    return samples.T if samples.ndim == 2 else samples[None]
