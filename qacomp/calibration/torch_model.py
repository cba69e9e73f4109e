"""A PyTorch network with calibration inputs: second moments by hooks, and the change of outputs with other weights."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from qacomp.batches.feed import Feed, arguments, called, count_of, rows_of, tensors_of
from qacomp.batches.outputs import flat_outputs
from qacomp.calibration.gradient_moments import MOST_VALUES, MOST_WEIGHTS, PASSES
from qacomp.calibration.halved_moment import HalvedMoment
from qacomp.calibration.layer_inputs import columns, second_moment, serving_rows, view_of
from qacomp.calibration.torch_gradients import gradient_moments, runs_backwards
from qacomp.errors import DataError
from qacomp.models.weight_places import split_name, tied_names
from qacomp.rate.calibrated import Moment
from qacomp.rate.matrices import MatrixView
from qacomp.tensors.digest import arrays_digest
from qacomp.tensors.torch_format import to_array

_BATCH = 128
_POSITIONS = 40_000  # most positions of a batch that count in a moment; neighbours add little information
_TRIED = 128  # inputs on which changed weights are tried
_OTHERS, _LEAST = 8, 16  # one of so many inputs, the last ones, but so many at least, tells whether gradients help


class TorchCalibration:
    """A network in evaluation mode with inputs: a feed, or several of different shapes; text: describes them.

    note: is told where no gradients can be taken.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Feed | list[Feed],
        text: str,
        seed: int,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._model, self._text, self._seed, self._note = model, text, seed, note
        self._feeds = inputs if isinstance(inputs, list) else [inputs]
        self._tied = tied_names(model)
        self._tried = _Tried(model, _first(self._feeds, _TRIED), self._tied)
        if not self._tried.wanted:
            raise DataError(
                "the network returns no float tensor, so steps can't be chosen by its outputs; return a tensor, or use "
                "--sharing after"
            )

    @property
    def text(self) -> str:
        """Return the text that describes the inputs."""
        return self._text

    @property
    def digest(self) -> str:
        """Return the SHA-256, in hex, over all inputs and the network's state."""
        state = {name: to_array(value) for name, value in self._model.state_dict().items()}
        feeds = [{str(i): to_array(t) for i, t in enumerate(tensors_of(feed))} for feed in self._feeds]
        return arrays_digest([state, *feeds])

    @property
    def of_outputs(self) -> bool:
        """Return True: a network can be run."""
        return True

    @property
    def batches(self) -> int:
        """Return the number of batches over which the moments are computed."""
        return sum(-(-count_of(feed) // _BATCH) for feed in self._feeds) + (PASSES if self._has_gradients else 0)

    def moments(self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]) -> dict[str, Moment]:
        """Return the moment of each convolution's and linear layer's weight; see `CalibratedModel`.

        A weight that an embedding reads too serves both; one that another module reads too has no moment. Of a network
        that isn't too large, those of gradients at the outputs too, where one module alone reads a weight.
        """
        sums: dict[str, HalvedMoment] = {}
        handles: list[Any] = []
        views: dict[str, MatrixView] = {}
        embedded, alone = set(), dict[str, nn.Module]()
        generator = torch.Generator().manual_seed(self._seed)
        for name, shape in names.items():
            owners = self._owners(name)
            readers = [owner for owner in owners if not isinstance(owner, nn.Embedding)]
            seen = [view_of(reader, shape) for reader in readers if isinstance(reader, nn.Module)]
            known = [view for view in seen if view is not None]
            if not known or len(known) < len(readers):
                continue
            views[name] = known[0]
            if len(readers) < len(owners):
                embedded.add(name)
            elif len(readers) == 1 and readers[0] is not None:
                alone[name] = readers[0]
            for reader in readers:
                assert reader is not None
                handles.append(
                    reader.register_forward_pre_hook(_adder(sums.setdefault(name, HalvedMoment()), generator))
                )
        try:
            with torch.no_grad():
                for feed in self._feeds:
                    for start in range(0, count_of(feed), _BATCH):
                        called(self._model, rows_of(feed, slice(start, start + _BATCH)))
                        advance()
        finally:
            for handle in handles:
                handle.remove()
        means = {name: mean for name, total in sums.items() if (mean := total.mean()) is not None}
        means |= {name: serving_rows(means[name]) for name in embedded if name in means}
        outputs = self._gradients({name: m for name, m in alone.items() if name in means}, advance)
        found = {name: Moment(views[name], mean.numpy()) for name, mean in means.items()}
        for name, moment in found.items():
            rows = moment.view.matrices(np.empty(names[name], bool)).shape[:2]
            if name in outputs and outputs[name].shape[:2] == rows:
                found[name] = replace(moment, outputs=outputs[name])
        return found

    @property
    def _has_gradients(self) -> bool:
        return runs_backwards(self._model) and sum(map(count_of, self._feeds)) > 2 * self._others

    @property
    def _others(self) -> int:
        return max(_LEAST, sum(map(count_of, self._feeds)) // _OTHERS)

    def _gradients(
        self, layers: Mapping[str, nn.Module], advance: Callable[[], None]
    ) -> Mapping[str, NDArray[np.float64]]:
        """Return moments of gradients at the outputs of layers; none, with a note, where the network gives none."""
        narrow = {name: layer for name, layer in layers.items() if _outputs_of(layer) <= MOST_VALUES}
        if not runs_backwards(self._model):
            self._note(
                f"rounding errors compensate each other along inputs alone: a network of more than {MOST_WEIGHTS:,} "
                "weights isn't run backwards"
            )
        elif not self._has_gradients:
            self._note(
                "rounding errors compensate each other along inputs alone: there are too few inputs for gradients"
            )
        if not self._has_gradients or not narrow:
            return {}
        first = _first(self._feeds, sum(map(count_of, self._feeds)) - self._others)
        try:
            return gradient_moments(self._model, first, narrow, self._seed, advance)
        except Exception as error:  # whatever a user's network raises; without gradients it runs
            why = " ".join(str(error).split())[:200]
            self._note(
                f"the network can't be run backwards ({why}): rounding errors compensate each other along inputs alone"
            )
            return {}

    def _owners(self, name: str) -> list[nn.Module | None]:
        """Return the modules that hold a weight, under each of its names; None where it isn't their `weight`."""
        names = [name, *(other for other, first in self._tied.items() if first == name)]
        return [owner if leaf == "weight" else None for owner, leaf in (split_name(self._model, n) for n in names)]

    def distance(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return how much the outputs change with these values, relative to their variance over the inputs."""
        return self._tried(values)

    def distance_elsewhere(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return the same on inputs that no gradients come from."""
        return self._elsewhere(values)

    @cached_property
    def _elsewhere(self) -> "_Tried":
        return _Tried(self._model, _last(self._feeds, self._others), self._tied)


class _Tried:
    """Runs a network on a few inputs with changed weights, and compares its outputs with the original's."""

    def __init__(self, model: nn.Module, feeds: list[Feed], tied: Mapping[str, str]) -> None:
        self._model, self._feeds, self._tied = model, feeds, tied
        self.wanted = self._outputs({})
        self._size = sum(float(((y - y.mean(0)).double() ** 2).sum()) for y in self.wanted)

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return Σ|y − ŷ|² / Σ|y − mean y|² over the inputs."""
        moved = self._outputs(values)
        error = sum(float(((a - b).double() ** 2).sum()) for a, b in zip(self.wanted, moved, strict=True))
        return error / self._size if self._size > 0 else error

    def _outputs(self, values: Mapping[str, NDArray[Any]]) -> list[Tensor]:
        own = self._model.state_dict()
        changed = {name: torch.from_numpy(np.array(value)).to(own[name]) for name, value in values.items()}
        changed |= {other: changed[first] for other, first in self._tied.items() if first in changed}
        outputs: list[Tensor] = []
        with torch.no_grad():
            for feed in self._feeds:
                found = flat_outputs(functional_call(self._model, changed, *arguments(feed)))
                outputs += [y.float() for y in found.values() if y.is_floating_point()]
        return outputs


def _first(feeds: list[Feed], most: int) -> list[Feed]:
    """Return the first `most` examples of some feeds."""
    taken: list[Feed] = []
    for feed in feeds:
        if (left := most - sum(map(count_of, taken))) > 0:
            taken.append(rows_of(feed, slice(0, left)))
    return taken


def _last(feeds: list[Feed], most: int) -> list[Feed]:
    """Return the last `most` examples of some feeds."""
    taken: list[Feed] = []
    for feed in reversed(feeds):
        if (left := most - sum(map(count_of, taken))) > 0:
            taken.insert(0, rows_of(feed, slice(max(0, count_of(feed) - left), None)))
    return taken


def _outputs_of(layer: nn.Module) -> int:
    """Return the number of values of a layer's output at each position."""
    return int(getattr(layer, "out_features", 0) or getattr(layer, "out_channels", 0))


def _adder(total: HalvedMoment, generator: torch.Generator) -> Any:
    """Return a hook that adds a batch of a module's inputs to their second moment."""

    def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
        if not given:  # called with named arguments
            return
        batch = given[0].detach().float()
        parts = [batch[::2], batch[1::2]] if len(batch) > 1 else [batch]
        most = _POSITIONS // len(parts)

        def pick(count: int) -> Tensor | None:
            return torch.randint(count, (most,), generator=generator) if count > most else None

        for number, part in enumerate(parts):
            taken = columns(module, part, pick)
            total.add(second_moment(taken), taken.shape[2], number)

    return hook
