"""A PyTorch network with calibration inputs: second moments by hooks, and the change of outputs with other weights."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from qacomp.calibration.layer_inputs import columns, second_moment, view_of
from qacomp.errors import DataError
from qacomp.models.weight_places import split_name, tied_names
from qacomp.rate.calibrated import Moment

_BATCH = 128
_POSITIONS = 40_000  # most positions of a batch that count in a moment; neighbours add little information
_TRIED = 128  # inputs on which changed weights are tried


class TorchCalibration:
    """A network in evaluation mode with inputs (N, ...); text: describes the inputs."""

    def __init__(self, model: nn.Module, inputs: Tensor, text: str, seed: int) -> None:
        self._model, self._inputs, self._text, self._seed = model, inputs, text, seed
        self._tied = tied_names(model)
        self._tried = inputs[:_TRIED]
        self._wanted = self._outputs({})
        if not self._wanted:
            raise DataError(
                "the network returns no tensor, or a dictionary, so steps can't be chosen by its outputs; "
                "return a tensor, or use --sharing after"
            )
        self._size = sum(float(((y - y.mean(0)).double() ** 2).sum()) for y in self._wanted)

    @property
    def text(self) -> str:
        """Return the text that describes the inputs."""
        return self._text

    @property
    def batches(self) -> int:
        """Return the number of batches over which the moments are computed."""
        return -(-len(self._inputs) // _BATCH)

    def moments(self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]) -> dict[str, Moment]:
        """Return the moment of each convolution's and linear layer's weight; see `CalibratedModel`."""
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        handles, views = [], {}
        generator = torch.Generator().manual_seed(self._seed)
        for name, shape in names.items():
            for place in (name, *(other for other, first in self._tied.items() if first == name)):
                owner, leaf = split_name(self._model, place)
                view = view_of(owner, shape) if leaf == "weight" else None
                if view is not None:
                    views[name] = view
                    handles.append(owner.register_forward_pre_hook(_adder(name, sums, counts, generator)))
        try:
            with torch.no_grad():
                for start in range(0, len(self._inputs), _BATCH):
                    self._model(self._inputs[start : start + _BATCH])
                    advance()
        finally:
            for handle in handles:
                handle.remove()
        return {n: Moment(views[n], (total / max(1, counts[n])).numpy()) for n, total in sums.items()}

    def distance(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return how much the outputs change with these values, relative to their variance over the inputs."""
        moved = self._outputs(values)
        error = sum(float(((a - b).double() ** 2).sum()) for a, b in zip(self._wanted, moved, strict=True))
        return error / self._size if self._size > 0 else error

    def _outputs(self, values: Mapping[str, NDArray[Any]]) -> list[Tensor]:
        own = self._model.state_dict()
        changed = {name: torch.from_numpy(np.array(value)).to(own[name]) for name, value in values.items()}
        changed |= {other: changed[first] for other, first in self._tied.items() if first in changed}
        with torch.no_grad():
            found = functional_call(self._model, changed, (self._tried,))
        return [y.float() for y in (found if isinstance(found, list | tuple) else [found]) if isinstance(y, Tensor)]


def _adder(name: str, sums: dict[str, Tensor], counts: dict[str, int], generator: torch.Generator) -> Any:
    """Return a hook that adds a batch of a module's inputs to the sum of their second moments."""

    def pick(count: int) -> Tensor | None:
        return torch.randint(count, (_POSITIONS,), generator=generator) if count > _POSITIONS else None

    def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
        taken = columns(module, given[0].detach().float(), pick)
        counts[name] = counts.get(name, 0) + taken.shape[2]
        moment = second_moment(taken)
        sums[name] = sums[name] + moment if name in sums else moment

    return hook
