"""Calibrate a transformer block by block: moments of what its products read, and how far its outputs move.

Everything equals what a run of the whole model gives; only one block's weights are held at a time. The activations of
all texts between two blocks are held, and those of the few texts on which changed weights are tried between all blocks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.calibration.block_model import OUTSIDE, BlockModel, Entry, Feed
from qacomp.calibration.layer_inputs import rows_as_columns, second_moment
from qacomp.rate.calibrated import Moment
from qacomp.rate.matrices import MatrixView, input_major, output_major
from qacomp.tensors.digest import arrays_digest

_POSITIONS = 40_000  # of all texts together that are taken into a weight's moment, as for ONNX models
_MOST_INPUTS = 6_144  # of a row: the factor of one with more takes minutes and gigabytes


@dataclass(frozen=True)
class TextInputs:
    """Token ids, as inputs of a model, to calibrate it on. text: what they are.

    of_moments: what second moments are taken from; tried: a few on which changed weights are tried; others: apart from
    both, for the comparison of two ways of rounding.
    """

    text: str
    of_moments: tuple[Feed, ...]
    tried: tuple[Feed, ...]
    others: tuple[Feed, ...]


class BlockCalibration:
    """A transformer with texts; see `CalibratedModel`. seed: of the positions that are taken into moments."""

    of_words = False
    of_outputs = True

    def __init__(self, model: BlockModel, inputs: TextInputs, seed: int) -> None:
        self._model, self._inputs, self._seed = model, inputs, seed

    @property
    def text(self) -> str:
        """Return what the texts are and how many."""
        return self._inputs.text

    @property
    def digest(self) -> str:
        """Return the SHA-256, in hex, over all texts."""
        feeds = (*self._inputs.of_moments, *self._inputs.tried, *self._inputs.others)
        return arrays_digest([{name: value.numpy() for name, value in feed.items()} for feed in feeds])

    @property
    def batches(self) -> int:
        """Return in how many steps the moments are taken: one for each block, and one for what is around them."""
        return len(self._model.blocks) + 1

    def moments(self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]) -> dict[str, Moment]:
        """Return the moment of each weight that a linear layer multiplies with; see `CalibratedModel`."""
        return {name: moment for block in self.each_moment(names, advance) for name, moment in block.items()}

    def each_moment(
        self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]
    ) -> Iterator[dict[str, Moment]]:
        """Yield the moments of the weights of each block, then of those around the blocks."""
        feeds, model = self._inputs.of_moments, self._model
        entries = [model.entry(feed, {}) for feed in feeds]
        hidden = [entry.hidden for entry in entries]
        for place in range(len(model.blocks)):
            sums = _Sums(names, [self._seed, place], len(feeds))
            with sums.watching(model.linears(place)):
                hidden = [model.after(place, h, entry, {}) for h, entry in zip(hidden, entries, strict=True)]
            advance()
            yield sums.moments()
        sums = _Sums(names, [self._seed, len(model.blocks)], len(feeds))
        with sums.watching(model.linears(OUTSIDE)):
            for feed, last in zip(feeds, hidden, strict=True):
                model.outputs(feed, last, {})
        advance()
        yield sums.moments()

    def distance(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return how far the outputs move, relative to how they vary over all positions of the texts."""
        return self._tried(values)

    def distance_elsewhere(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return the same on texts that neither the moments nor the steps come from."""
        return self._elsewhere(values)

    @cached_property
    def _tried(self) -> "BlockDistance":
        return BlockDistance(self._model, self._inputs.tried)

    @cached_property
    def _elsewhere(self) -> "BlockDistance":
        return BlockDistance(self._model, self._inputs.others)


class BlockDistance:
    """Runs a model on a few texts with changed weights, from the first block that any of them changes."""

    def __init__(self, model: BlockModel, feeds: Sequence[Feed]) -> None:
        self._model, self._feeds = model, feeds
        self._entries = [model.entry(feed, {}) for feed in feeds]
        self._held: list[list[Tensor]] = [[entry.hidden for entry in self._entries]]  # at the entry of each block
        for place in range(len(model.blocks)):
            self._held.append(self._after(place, self._held[-1], self._entries, {}))
        pairs = zip(feeds, self._held[-1], strict=True)
        self._wanted = [list(model.outputs(feed, h, {}).values()) for feed, h in pairs]
        self._sizes = [_variation([run[i] for run in self._wanted]) for i in range(len(self._wanted[0]))]

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return Σ|y − ŷ|² / Σ|y − mean y|², the mean over the outputs; values: by the names of tensors."""
        places = [place for name in values if (place := self._model.place(name)) is not None]
        if not places:
            return 0.0
        first, entries = min(place for place in (*places, len(self._model.blocks))), self._entries
        hidden = self._held[max(first, 0)]
        if first == OUTSIDE:
            entries = [self._model.entry(feed, values) for feed in self._feeds]
            hidden = [entry.hidden for entry in entries]
            if all(torch.equal(a, b) for a, b in zip(hidden, self._held[0], strict=True)):
                first = min((place for place in places if place != OUTSIDE), default=len(self._model.blocks))
                entries, hidden = self._entries, self._held[first]
        for place in range(max(first, 0), len(self._model.blocks)):
            hidden = self._after(place, hidden, entries, values)
        errors = np.zeros(len(self._sizes))
        for feed, last, wanted in zip(self._feeds, hidden, self._wanted, strict=True):
            found = self._model.outputs(feed, last, values).values()
            errors += [float(((a - b).double() ** 2).sum()) for a, b in zip(wanted, found, strict=True)]
        told = [error / size for error, size in zip(errors, self._sizes, strict=True) if size > 0]
        return float(np.mean(told)) if told else 0.0

    def _after(
        self, place: int, hidden: Sequence[Tensor], entries: Sequence[Entry], values: Mapping[str, NDArray[Any]]
    ) -> list[Tensor]:
        return [self._model.after(place, h, entry, values) for h, entry in zip(hidden, entries, strict=True)]


class _Sums:
    """Sums of second moments of what modules are called with. names: shapes of the weights that are asked for."""

    def __init__(self, names: Mapping[str, tuple[int, ...]], seed: Sequence[int], runs: int) -> None:
        self._names, self._rng = names, np.random.default_rng(seed)
        self._most = -(-_POSITIONS // max(1, runs))
        self._totals: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._views: dict[str, MatrixView] = {}

    def watching(self, modules: Mapping[str, nn.Module]) -> "_Watching":
        """Return a context in which calls of these modules, by the names of their weights, are added."""
        views = {name: view for name, module in modules.items() if (view := self._view(name, module)) is not None}
        self._views |= views
        return _Watching([modules[name].register_forward_pre_hook(self._adder(name)) for name in views])

    def moments(self) -> dict[str, Moment]:
        """Return the mean over all positions that were taken."""
        return {n: Moment(self._views[n], (t / max(1, self._counts[n])).numpy()) for n, t in self._totals.items()}

    def _view(self, name: str, module: nn.Module) -> MatrixView | None:
        shape = self._names.get(name)
        if shape is None or len(shape) != 2:
            return None
        if isinstance(module, nn.Linear):
            view = output_major(shape)
        elif type(module).__name__ == "Conv1D":  # transformers' linear layer of (inputs, outputs), as in GPT-2
            view = input_major(shape)
        else:
            return None
        return view if view.inputs <= _MOST_INPUTS else None

    def _adder(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def pick(count: int) -> Tensor | None:
            return torch.from_numpy(self._rng.integers(0, count, self._most)) if count > self._most else None

        def add(module: nn.Module, given: tuple[Any, ...]) -> None:
            taken = rows_as_columns(given[0].detach().float(), pick)
            moment = second_moment(taken)
            self._totals[name] = self._totals[name] + moment if name in self._totals else moment
            self._counts[name] = self._counts.get(name, 0) + taken.shape[2]

        return add


class _Watching:
    """Hooks that are removed at the end of a with block."""

    def __init__(self, handles: Sequence[Any]) -> None:
        self._handles = handles

    def __enter__(self) -> None:
        """Return nothing: the hooks are there already."""

    def __exit__(self, *_: object) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()


def _variation(runs: Sequence[Tensor]) -> float:
    """Return Σ|y − mean y|² over all positions of runs (..., values); the mean of each value is over the positions."""
    rows = torch.cat([run.reshape(-1, run.shape[-1]) for run in runs]).double()
    return float(((rows - rows.mean(0)) ** 2).sum())
