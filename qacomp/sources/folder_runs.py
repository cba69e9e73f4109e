"""Run a folder's model with changed weights on texts, block by block, and compare it with the original."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qacomp.calibration.block_calibration import BlockCalibration, TextInputs
from qacomp.calibration.block_model import BlockModel, Feed
from qacomp.calibration.text_vectors import HIDDEN, MEAN, pooled
from qacomp.errors import ConfigError
from qacomp.evaluation.measured import Measured
from qacomp.evaluation.metrics import Measure, more_is_better
from qacomp.evaluation.perplexity import cross_entropies, perplexity
from qacomp.evaluation.similarity import similarity
from qacomp.formats import BFLOAT16, SharedTensor, bfloat16_to_float32
from qacomp.runtime.agreement import compare
from qacomp.runtime.operator_error import OperatorError, decibels, weight_error
from qacomp.sharing.share import Packed
from qacomp.sources.source import Values
from qacomp.tensors.digest import arrays_digest

PERPLEXITY, SIMILARITY = "perplexity", "similarity"


@dataclass(frozen=True)
class FolderRuns:
    """A transformer to run with changed weights on texts; see `ModelRuns`.

    text: what the texts are; metric: perplexity of the next tokens, similarity of the texts' vectors, None for
    agreement alone; seed: of the positions that operators' errors are measured on.
    """

    model: BlockModel
    feeds: tuple[Feed, ...]
    text: str
    metric: str | None
    seed: int

    @property
    def digest(self) -> str:
        """Return the SHA-256, in hex, over the texts."""
        return arrays_digest([{name: value.numpy() for name, value in feed.items()} for feed in self.feeds])

    def measured(self, values: Values) -> Measured:
        """Run the model with these values, and compare its outputs with the original's."""
        changed = {name: values(name) for name in self.model.names}
        found = self._outputs(changed)
        agreement = compare(self._original, found, self.text)
        if self.metric is None or (self.metric == SIMILARITY and not self.gives_vectors):
            return Measured(agreement)
        before, after = self._score(self._original), self._score(found)
        count = sum(len(feed["input_ids"]) for feed in self.feeds)
        return Measured(agreement, Measure(self.metric, before, after, count, more_is_better(self.metric)))

    def where_steps_are_chosen(self) -> "FolderRuns":
        """Return itself: the same texts decide and are reported."""
        return self

    def errors(self, shared: Mapping[str, Packed]) -> dict[str, OperatorError]:
        """Return the error of each shared tensor at the linear layer that reads it, else of its values."""
        names = [name for name, item in shared.items() if isinstance(item.value, SharedTensor)]
        original = {name: _wide(self.model.read(name)) for name in names}
        alone = BlockCalibration(self.model, TextInputs(self.text, self.feeds, (), ()), self.seed)
        moments = alone.moments({name: array.shape for name, array in original.items()}, lambda: None)
        found = {}
        for name, before in original.items():
            after = _wide(shared[name].dense())
            moment = moments.get(name)
            if moment is None:
                found[name] = weight_error(before, after)
                continue
            rows = [moment.view.matrices(array.astype(np.float64)) for array in (after - before, before)]
            error, size = (float(((r @ moment.values) * r).sum()) for r in rows)
            found[name] = OperatorError(decibels(error, size), "Linear")
        return found

    def felt(self, shared: Mapping[str, Packed]) -> dict[str, float]:
        """Return by tensor the relative error at its own linear layer."""
        return {name: 10 ** (error.db / 10) for name, error in self.errors(shared).items()}

    @property
    def gives_vectors(self) -> bool:
        """Return whether the model returns its last hidden states: a head over them may return other outputs alone."""
        return all(HIDDEN in run for run in self._original)

    @cached_property
    def _original(self) -> list[dict[str, NDArray[Any]]]:
        return self._outputs({})

    def _outputs(self, changed: Mapping[str, NDArray[Any]]) -> list[dict[str, NDArray[Any]]]:
        states = [self.model.start(feed, changed) for feed in self.feeds]
        for place in range(len(self.model.blocks)):
            states = [self.model.after(place, f, s, changed) for f, s in zip(self.feeds, states, strict=True)]
        pairs = zip(self.feeds, states, strict=True)
        return [{n: y.numpy() for n, y in self.model.outputs(feed, s, changed).items()} for feed, s in pairs]

    def _score(self, runs: Sequence[Mapping[str, NDArray[Any]]]) -> float:
        """Return the metric of the runs' outputs; similarity is that with the original's."""
        if self.metric == SIMILARITY:
            way = self.model.made.pooling or MEAN
            one, other = (
                np.concatenate([pooled(torch.from_numpy(r[HIDDEN]), way).numpy() for r in rs])
                for rs in (self._original, runs)
            )
            return similarity(one, other)
        total, count = 0.0, 0
        for feed, run in zip(self.feeds, runs, strict=True):
            labels = feed["input_ids"][:, 1:].numpy().reshape(-1)
            scores = run["logits"][:, :-1]
            total += float(cross_entropies(scores.reshape(-1, scores.shape[-1]), labels).sum())
            count += len(labels)
        return perplexity(total, count) if math.isfinite(total) else math.nan


def metric_of_folder(asked: str, decodes: bool, path: object) -> str:
    """Return the metric that texts allow: perplexity where next tokens are predicted, else similarity.

    Raises ConfigError for any other that is asked for.
    """
    fitting = PERPLEXITY if decodes else SIMILARITY
    if asked not in ("auto", fitting):
        raise ConfigError(f"--metric {asked}: of {path} texts give {fitting} alone; leave it out")
    return fitting


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    return bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
