"""Recordings in, separated recordings out: a trained model on audio of any length and rate.

Recordings are cut into chunks that overlap. A batch of them at a time goes through the network;
`audio.blind_order`, or `audio.streams` where slots may be empty, brings their slots into one order
without any ground truth (the paper, section 3, takes it from the true sources), and they are faded
into each other.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import soxr
from jaxtyping import Float, Float32

from audioslots_jax import separator as separators
from audioslots_jax.data import data_sets
from audioslots_jax.data.batch import crop_samples
from audioslots_jax.data.sound_files import SoundFile, require_sound
from audioslots_jax.errors import UserError
from audioslots_jax.inference import packaged
from audioslots_jax.inference.chunk_processor import ChunkProcessor
from audioslots_jax.inference.gain import Gain
from audioslots_jax.inference.presence import Presences, stretch
from audioslots_jax.inference.repeated import repeated
from audioslots_jax.inference.stitching import stitch
from audioslots_jax.inference.trace import Trace
from audioslots_jax.separator import Separator
from audioslots_jax.workdir import CHECKPOINTS, CONFIG, read_config, read_data

MOST_CHANNELS = 64  # more are samples, in an array that lies on its side
RATES = (1000, 768_000)  # Hz; others come from damaged headers

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

    @property
    def adds_up(self) -> bool:
        """Whether its estimates add up to the recording; they do not where noise is left out."""
        return bool(getattr(self.separator.model.decoder, "adds_up", True))

    @property
    def counts(self) -> bool:
        """Whether the model says which slots hold a source."""
        return self.separator.model.presence is not None

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
          come later than their input, by a chunk and more, and are of other lengths.

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

    def with_presence(
        self, samples: np.ndarray, sample_rate: int
    ) -> tuple[Float32[np.ndarray, "slot channel sample"], Float[np.ndarray, " slot"]]:
        """Separates samples, shaped (channel, sample), and says which slots hold a source.

        Returns:
          One recording per slot, as `__call__` does, and each slot's probability to hold a source:
          1 by a model that does not say it, if the recording is not silent.
        """
        presences = self.presences()
        separated = _whole(self.stream([samples], sample_rate, presences=presences))
        return separated, presences.probabilities

    def presences(self) -> Presences:
        """Returns what gathers which slots of a recording hold a source; see `stream`."""
        return Presences(self.separator.slots, stretch(self.hop, self.sample_rate))

    def stream(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        name: str = "the recording",
        presences: Presences | None = None,
        trace: Trace | None = None,
    ) -> Iterator[Separated]:
        """Separates blocks one after the other, as `__call__` does; errors give the ``name``.

        At the end ``presences`` hold which slots hold a source; all of them do by a model that does
        not say it. A ``trace`` holds how the chunks were joined.
        """
        if not RATES[0] <= sample_rate <= RATES[1]:
            raise UserError(
                f"{name}: its sampling rate is {sample_rate} Hz; it must be from {RATES[0]} to "
                f"{RATES[1]} Hz."
            )
        heard: list[Waveform] = []  # of the recording, and not yet given back
        above = sample_rate > self.sample_rate
        # What slots leave over has its share of what is above the band.
        extra = above and not self.adds_up
        slots = self.separator.slots + extra

        def kept() -> Iterator[Waveform]:
            for block in _checked(blocks, sample_rate, name):
                heard.append(block)
                yield block

        def pairs() -> Iterator[tuple[Waveform, Separated]]:
            given = 0
            heard_at = _resample(kept(), sample_rate, self.sample_rate)
            separated = self._separate(heard_at, presences, trace, rest=extra)
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
                    shape = (slots, len(waiting), count)
                    yield waiting[:, :count], block[:, :count].reshape(shape)
            rest = np.concatenate(heard, axis=1) if heard else np.zeros((0, 0), np.float32)
            if rest.size:
                yield rest, np.zeros((slots, *rest.shape), np.float32)

        if above:
            from audioslots_jax.inference.high_band import share_rest  # and SciPy's filters

            for block in share_rest(pairs(), sample_rate, self.sample_rate / 2):
                yield block[: self.separator.slots]
        else:
            yield from (estimates for _, estimates in pairs())

    def _separate(
        self,
        blocks: Iterable[Waveform],
        presences: Presences | None,
        trace: Trace | None,
        *,
        rest: bool,
    ) -> Iterator[Separated]:
        """Separates blocks at the model's rate; the ``rest`` that slots leave is one more."""
        if self.separator.slots == 1:
            raise UserError("an autoencoder cannot separate: it needs the sources to be apart.")
        process = ChunkProcessor(
            self.separator, self.params, self.hop, Gain(self.level, self.crop),
            carries=self.carries, presences=presences, trace=trace,
        )  # fmt: skip

        def with_rest(
            chunks: Float32[np.ndarray, "chunk channel length"],
        ) -> Float32[np.ndarray, "chunk part channel length"]:
            made = process(chunks)
            left = chunks[:, None] - made.sum(axis=1, keepdims=True)
            return np.concatenate([made, left], axis=1)

        blocks = repeated(blocks, self.crop)
        yield from stitch(with_rest if rest else process, blocks, self.chunk, self.hop)


def load(workdir: str | Path | None = None) -> RecordingSeparator:
    """Returns the model of a run of ``main.py``: the best of its checkpoints that were scored.

    A ``workdir`` may also be a folder that `packaged.export` made, or, as a string, the name of a
    model that the package brings: ``compact``, which knows two people and is the default, or
    ``count``, which finds out how many there are, as the command ``audioslots separate`` does.

    Raises:
      UserError: if it is no run, or has no checkpoint that can be read.
    """
    workdir = packaged.COMPACT if workdir is None else packaged.folder_of(workdir)
    if workdir.parent == packaged.WEIGHTS and not (workdir / packaged.PARAMETERS).exists():
        raise UserError(
            f"the package's model {workdir.name} is missing; install the package again, or name "
            "a run with --workdir."
        )
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
            samples = np.array(block, np.float32)  # a copy: callers may fill one buffer again
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
