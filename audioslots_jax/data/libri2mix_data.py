"""The data set ``libri2mix``: training crops, validation crops and whole test mixtures."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from audioslots_jax import fields
from audioslots_jax.data.batch import Data, HeldOut, Mixtures, Whole, crop_samples
from audioslots_jax.data.hashing import fingerprint
from audioslots_jax.data.libri2mix import SOURCES, SPLITS, Libri2Mix
from audioslots_jax.data.libri2mix_crops import DynamicMixing, OfficialMixing, Silence
from audioslots_jax.data.librispeech import LIBRISPEECH, SAMPLE_RATE, Folder, Root, open_root
from audioslots_jax.data.sexes import nearest_lists
from audioslots_jax.data.wholes import WHOLE_SECONDS, Wholes, heard_samples
from audioslots_jax.errors import UserError

Split = Literal["train-100", "train-360", "dev", "test"]


@dataclasses.dataclass(frozen=True)
class Libri2MixData:
    """Libri2Mix, from its metadata and LibriSpeech. For other fields see `DataSet`.

    Attributes:
      root: the folder that holds both, or a store that was made of it.
      split: to train on.
      eval_split: whose official mixtures choose the best checkpoint.
      test_split: whose official mixtures are scored in the end.
      mixing: train on the official pairs, or on new ones in every epoch.
      silence: keep training crops in which a source is silent, or draw them again.
      allow_missing: leave out mixtures whose utterances are missing.
    """

    root: str = ""
    split: Split = "train-360"
    eval_split: Split = "dev"
    test_split: Split = "test"
    mixing: Literal["official", "dynamic"] = "official"
    silence: Silence = "keep"
    allow_missing: bool = False
    sources: int = SOURCES
    sample_rate: int = SAMPLE_RATE
    crop_seconds: float = 0.5
    workers: int = 2

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields the fields that cannot be, and what they must be."""
        yield from fields.positive(self, "crop_seconds", "workers")
        if self.sources != SOURCES:
            yield "sources", f"must be {SOURCES}"
        if self.sample_rate != SAMPLE_RATE:
            yield "sample_rate", f"must be {SAMPLE_RATE}"
        if self.crop_seconds > WHOLE_SECONDS:
            yield "crop_seconds", f"must be at most {WHOLE_SECONDS:g}"
        if self.eval_split == self.split:
            yield "eval_split", "must be another split than data.split, which is trained on"

    def open(self, held_out: HeldOut | None = None) -> Data:
        """Returns the data; raises a `UserError` if recordings are missing, or their levels."""
        root, samples = self._root(), crop_samples(self)
        validation = self._official(root, self.eval_split)
        train: Mixtures
        if self.mixing == "dynamic":
            train, parts = self._dynamic(root, samples)
        else:
            mixtures = self._official(root, self.split)
            train = OfficialMixing(mixtures, samples=samples, silence=self.silence)
            parts = [(row.mixture_id, row.gains) for row in mixtures.rows]
        parts += [(row.mixture_id, row.gains) for row in validation.rows]
        crops, wholes = (
            OfficialMixing(validation, samples=length, silence="redraw")
            for length in (samples, heard_samples(samples, SAMPLE_RATE))
        )
        # In a store that folder is not there, and its list lies above.
        places = {
            str(speaker): root.path / LIBRISPEECH / utterance
            for row in validation.rows
            for speaker, utterance in zip(row.speaker_ids, row.utterances, strict=True)
        }
        return Data(train, crops, {}, fingerprint(parts), wholes, nearest_lists(places))

    def open_test(self, held_out: HeldOut, count: int) -> Wholes:
        """Returns all official mixtures of a split not used before, cut or padded to 10 s."""
        problem = "must be another split than data.split and data.eval_split"
        trained = (self.split, self.eval_split)
        fields.require(self.test_split not in trained, "data.test_split", self.test_split, problem)
        mixtures = self._official(self._root(), self.test_split, WHOLE_SECONDS)

        def make(index: int) -> Whole:
            mixture = mixtures[index]
            return Whole(mixture.mixture_id, mixture.mixture, mixture.sources)

        return Wholes(range(len(mixtures)), make)

    def _root(self) -> Root:
        fields.require(
            self.root, "data.root", self.root, "must name a folder: --config.data.root=DIR"
        )
        return open_root(self.root)

    def _official(self, root: Root, split: str, seconds: float | None = None) -> Libri2Mix:
        return Libri2Mix(root, split, "max", seconds=seconds, allow_missing=self.allow_missing)

    def _dynamic(self, root: Root, samples: int) -> tuple[DynamicMixing, list[tuple[Any, Any]]]:
        """Returns the crops of dynamic mixing, and what tells its utterances from others."""
        if isinstance(root, Folder):
            raise UserError(
                "data.mixing: dynamic mixing needs to know how loud each utterance is; run "
                f"`audioslots prepare {root.path} --output STORE` once, and train with "
                "--config.data.root=STORE."
            )
        rows = root.rows_of(SPLITS[self.split])
        if not len(rows):
            raise UserError(
                f"data.split: the store {root.path} has no utterances of {SPLITS[self.split]}; add "
                "them to LibriSpeech/ and prepare it again."
            )
        audible = rows[np.isfinite(root.table["loudness"][rows])]
        table = root.table[audible]
        utterances = root.select(audible[table["frames"] >= samples])
        parts = [*zip(table["name"].tolist(), table["frames"].tolist(), strict=True)]
        return DynamicMixing(utterances, samples=samples, silence=self.silence), parts
