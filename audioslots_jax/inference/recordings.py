"""Recordings in, separated recordings out: a trained model on audio of any length and rate.

Recordings are cut into chunks that overlap. A batch of them at a time goes through the network;
`audio.blind_order` brings their slots into one order without any ground truth (the paper, section
3, takes it from the true sources), and they are faded into each other.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import soxr
from jaxtyping import Array, Float, Float32

from audioslots_jax import separator as separators
from audioslots_jax.audio.chunks import Chunk, continue_order, order_like, reorder
from audioslots_jax.data import data_sets
from audioslots_jax.data.batch import crop_samples
from audioslots_jax.data.sound_files import SoundFile, require_sound
from audioslots_jax.errors import UserError
from audioslots_jax.inference import packaged
from audioslots_jax.inference.stitching import stitch
from audioslots_jax.separator import Estimates, Separator
from audioslots_jax.sequences import carry_over
from audioslots_jax.workdir import CHECKPOINTS, CONFIG, read_config, read_data

MOST_CHANNELS = 64  # more are samples, in an array that lies on its side
RATES = (1000, 768_000)  # Hz; others come from damaged headers
MOST_GAIN = 1e12  # what needs more is silence

Waveform = Float32[np.ndarray, "channel sample"]
Separated = Float32[np.ndarray, "slot channel sample"]


@dataclasses.dataclass(frozen=True)
class RecordingSeparator:
    """A trained model, ready to separate recordings of any level; see `Gain`.

    Attributes:
      separator: front end, network and mask.
      params: the network's parameters.
      config: of the run it comes from.
      step: of the training, after which the parameters were saved.
      score: on held-out crops at that step, in dB; None if it was not scored there.
      level: RMS of the mixtures it was trained on; 0 if that is not known.
    """

    separator: Separator
    params: Any = dataclasses.field(repr=False)
    config: Mapping[str, Any]
    step: int
    score: float | None
    level: float

    @property
    def sample_rate(self) -> int:
        """Of the model, in Hz."""
        return int(self.config["data"]["sample_rate"])

    @property
    def crop(self) -> int:
        """Length of the crops it was trained on, in samples at the model's rate."""
        return round(self.config["data"]["crop_seconds"] * self.sample_rate)

    @property
    def chunk(self) -> int:
        """Length of a chunk in samples at the model's rate."""
        seconds = self.config.get("eval", {}).get("chunk_seconds", 0.0)
        return round(seconds * self.sample_rate) or self.crop

    @property
    def hop(self) -> int:
        """Distance between the beginnings of chunks, in samples."""
        overlap = self.config.get("eval", {}).get("overlap", 0.75)
        return max(round(self.chunk * (1 - overlap)), 1)

    @property
    def carries(self) -> bool:
        """Whether the slots of a chunk start the next one's, as they did in the training."""
        return bool(self.config.get("train", {}).get("sequence", 1) > 1)

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
          One recording per slot, as long as the input, at its rate and level: (slot, channel,
          sample), or (slot, sample) for samples of shape (sample,). What lies above the model's
          band is divided by a rule, see `high_band`. For blocks, an iterator over blocks, which
          come later than their input and are of other lengths.

        Raises:
          UserError: if a file cannot be read, samples are not finite or far beyond full scale, or
            the model is an autoencoder or gives what is not finite.
          ValueError: if samples come without a rate, or are not shaped as above.
        """
        if isinstance(recording, str | Path):
            with SoundFile(Path(recording).expanduser()) as file:
                return _whole(self.stream(file.blocks(), file.sample_rate))
        if sample_rate is None:
            raise ValueError("samples need a sample_rate in Hz.")
        if not isinstance(recording, np.ndarray | jax.Array):
            return self.stream(recording, sample_rate)
        samples = np.asarray(recording)
        channels = 1 if samples.ndim == 1 else len(samples)
        if samples.ndim not in (1, 2) or not samples.size or channels > MOST_CHANNELS:
            raise ValueError(
                f"samples are (sample,) or (channel, sample), not {samples.shape}; there can be up "
                f"to {MOST_CHANNELS} channels."
            )
        separated = _whole(self.stream([np.atleast_2d(samples)], sample_rate))
        return separated[:, 0] if samples.ndim == 1 else separated

    def stream(
        self, blocks: Iterable[np.ndarray], sample_rate: int, name: str = "the recording"
    ) -> Iterator[Separated]:
        """Separates blocks one after the other, as `__call__` does; errors give the ``name``."""
        if not RATES[0] <= sample_rate <= RATES[1]:
            raise UserError(
                f"{name}: its sampling rate is {sample_rate} Hz; it must be from {RATES[0]} to "
                f"{RATES[1]} Hz."
            )
        heard: list[Waveform] = []  # of the recording, and not yet given back

        def kept() -> Iterator[Waveform]:
            for block in _checked(blocks, sample_rate, name):
                heard.append(block)
                yield block

        def pairs() -> Iterator[tuple[Waveform, Separated]]:
            given = 0
            separated = self._separate(_resample(kept(), sample_rate, self.sample_rate))
            flat = (block.reshape(-1, block.shape[2]) for block in separated)
            for block in _resample(flat, self.sample_rate, sample_rate):
                if not np.isfinite(block).all():
                    raise UserError(
                        f"{name}: near {given / sample_rate:.2f} s the model gives samples that "
                        "are not finite; separate with another run."
                    )
                waiting = np.concatenate(heard, axis=1)
                # Resampling there and back may add a sample at the end, or lose one.
                count = min(block.shape[1], waiting.shape[1])
                given += count
                heard[:] = [waiting[:, count:]]
                if count:
                    shape = (self.separator.slots, len(waiting), count)
                    yield waiting[:, :count], block[:, :count].reshape(shape)
            if heard and heard[0].size:
                yield heard[0], np.zeros((self.separator.slots, *heard[0].shape), np.float32)

        if sample_rate > self.sample_rate:
            from audioslots_jax.inference.high_band import share_rest  # and SciPy's filters

            yield from share_rest(pairs(), sample_rate, self.sample_rate / 2)
        else:
            yield from (estimates for _, estimates in pairs())

    def _separate(self, blocks: Iterable[Waveform]) -> Iterator[Separated]:
        """Separates blocks at the model's rate."""
        if self.separator.slots == 1:
            raise UserError("an autoencoder cannot separate: it needs the sources to be apart.")
        hop, gain, previous = self.hop, Gain(self.level, self.crop), None
        queries: dict[int, Array] = {}  # of channels whose slots carry over

        def estimate(
            chunks: Float32[np.ndarray, "chunk length"], channel: int, gain: Float32[np.ndarray, ""]
        ) -> tuple[Array, Array]:
            if not self.carries:
                return _estimate(self.separator, self.params, chunks, gain)
            start = queries.get(channel)
            if start is None:
                start = _estimate(self.separator, self.params, chunks[:1], gain)[1]
            made = _carry_over(self.separator, self.params, chunks, gain, start)
            queries[channel] = made[1][-1:]
            return made

        def process(
            chunks: Float32[np.ndarray, "chunk channel length"],
        ) -> Float32[np.ndarray, "chunk slot channel length"]:
            nonlocal previous
            apply = functools.partial(estimate, gain=gain(chunks))
            # One channel after the other, so that the network never sees more than one's chunks.
            estimates, embeddings = apply(chunks[:, 0], 0)
            if previous is None:
                previous = Chunk(jnp.zeros_like(estimates[0]), jnp.zeros_like(embeddings[0]))
            first, previous = _continue_order(
                previous, estimates, embeddings, hop, self.separator.front_end.stft
            )
            # The others hear the same sources.
            others = range(1, chunks.shape[1])
            aligned = (_reorder_like(apply(chunks[:, i], i)[0], first) for i in others)
            return np.stack([np.asarray(first), *map(np.asarray, aligned)], axis=2)

        yield from stitch(process, blocks, self.chunk, hop)


class Gain:
    """The gain of what a model hears, so that recordings of any level are separated alike.

    It is the RMS of the mixtures that the model was trained on, divided by the level of the
    recording so far: ``sqrt(sum p^2 / sum p)`` over the mean squares ``p`` of all parts of chunks
    as long as a crop, of all channels, up to the end of a batch of chunks. Loud parts so count for
    more than pauses do, and the zeros that fill up a chunk for nothing. It is 1 if either level is
    0 or not known. Only masks depend on it, not the level of estimates.
    """

    def __init__(self, level: float, crop: int):
        """Starts a recording.

        Args:
          level: the RMS of the training's mixtures.
          crop: their length in samples.
        """
        self._level, self._crop, self._sums = level, crop, np.zeros(2)

    def __call__(
        self, chunks: Float32[np.ndarray, "chunk channel length"]
    ) -> Float32[np.ndarray, ""]:
        """Returns the gain of a batch of chunks, which follows those of earlier calls."""
        missing = -chunks.shape[-1] % self._crop
        parts = np.pad(chunks, ((0, 0), (0, 0), (0, missing)))
        parts = parts.reshape(*chunks.shape[:2], -1, self._crop)
        powers = np.mean(np.square(parts, dtype=np.float64), axis=-1)
        self._sums += np.sum(np.square(powers)), np.sum(powers)
        if not self._level or not self._sums.all():
            return np.asarray(1, np.float32)
        gain = self._level / np.sqrt(self._sums[0] / self._sums[1])
        return np.asarray(min(gain, MOST_GAIN), np.float32)


@functools.partial(jax.jit, static_argnums=0)
def _estimate(
    separator: Separator,
    params: Any,
    mixtures: Float[Array, "chunk length"],
    gain: Float[Array, ""],
) -> tuple[Float[Array, "chunk slot length"], Float[Array, "chunk slot embedding"]]:
    """Returns estimates of chunks, NaN where the network's are not finite, and the embeddings."""
    return _finite(separator(params, mixtures, gain=gain))


@functools.partial(jax.jit, static_argnums=0)
def _carry_over(
    separator: Separator,
    params: Any,
    mixtures: Float[Array, "chunk length"],
    gain: Float[Array, ""],
    queries: Float[Array, "1 slot embedding"],
) -> tuple[Float[Array, "chunk slot length"], Float[Array, "chunk slot embedding"]]:
    """Returns the same, where each chunk starts from the slots of the one before."""
    found = carry_over(separator, params, mixtures[:, None], gain=gain, queries=queries)
    return _finite(jax.tree.map(lambda x: x[:, 0], found))


def _finite(
    estimates: Estimates,
) -> tuple[Float[Array, "chunk slot length"], Float[Array, "chunk slot embedding"]]:
    # XLA may lose a NaN on its way through the masks.
    finite = jnp.all(jnp.isfinite(estimates.magnitudes), axis=(1, 2, 3))
    waveforms = jnp.where(finite[:, None, None], estimates.waveforms, jnp.nan)
    return waveforms, estimates.slots.astype(jnp.float32)


_continue_order = jax.jit(continue_order, static_argnums=(3, 4))
_reorder_like = jax.jit(lambda chunks, others: reorder(chunks, order_like(chunks, others)))


def load(workdir: str | Path | None = None) -> RecordingSeparator:
    """Returns the model of a run of ``main.py``: the best of its checkpoints that were scored.

    Without a ``workdir``, or with a folder that `packaged.export` made, it is the model in there.

    Raises:
      UserError: if it is no run, or has no checkpoint that can be read.
    """
    if workdir is None and not (packaged.COMPACT / packaged.PARAMETERS).exists():
        raise UserError(
            "the model that comes with the package is missing; install the package again, or name "
            "a run with --workdir."
        )
    workdir = packaged.COMPACT if workdir is None else Path(workdir).expanduser()
    config = read_config(workdir)
    try:
        data = data_sets.make(config["data"])
        separator = separators.build(config, crop_samples(data))
        average = config.get("train", {}).get("ema_decay", 0.0) > 0
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{workdir} is no run of main.py: its {CONFIG} cannot be used ({error!r})."
        ) from None
    shape = {"sample_rate": data.sample_rate, "crop_seconds": data.crop_seconds}
    config = {**config, "data": {**config["data"], **shape}}
    like = jax.eval_shape(lambda: separator.init(jax.random.key(0), crop_samples(data)))
    if (workdir / packaged.PARAMETERS).exists():
        params, step, score = packaged.read(workdir, like)
    else:
        from audioslots_jax.training.checkpoints import restore_params  # and Orbax, for a second

        params, step, score = restore_params(workdir / CHECKPOINTS, like, average=average)
    return RecordingSeparator(separator, params, config, step, score, read_data(workdir).level)


def _checked(blocks: Iterable[np.ndarray], sample_rate: int, name: str) -> Iterator[Waveform]:
    """Yields the blocks as float32, if they can be a recording."""
    channels, before = None, 0
    for block in blocks:
        with np.errstate(over="ignore"):  # told below
            samples = np.asarray(block, np.float32)
        channels = len(samples) if channels is None else channels
        if samples.ndim != 2 or len(samples) != channels:
            raise ValueError(
                f"blocks are (channel, sample), of the same channels; got {samples.shape}."
            )
        require_sound(samples, before, sample_rate, name)
        before += samples.shape[1]
        yield samples


def _whole(blocks: Iterator[Separated]) -> Separated:
    return np.concatenate(list(blocks), axis=-1)


def _resample(blocks: Iterable[Waveform], before: int, after: int) -> Iterator[Waveform]:
    """Yields blocks at another sampling rate, which are of other lengths then."""
    if before == after:
        yield from blocks
        return
    stream: soxr.ResampleStream | None = None
    for block in blocks:
        stream = stream or soxr.ResampleStream(before, after, len(block), dtype="float32")
        yield stream.resample_chunk(np.ascontiguousarray(block.T)).T
    if stream is not None:
        yield stream.resample_chunk(np.zeros((0, len(block)), np.float32), last=True).T
