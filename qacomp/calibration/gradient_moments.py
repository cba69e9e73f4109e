"""Second moments of gradients at the outputs of layers: how errors there act together on the outputs of a network.

Values drawn at random are sent back from the network's outputs. A gradient g at a layer is then Jᵀ r, and the mean of
g gᵀ is that of Jᵀ J: an error e of the layer's output moves the outputs of the network by eᵀ Jᵀ J e.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from qacomp.calibration.layer_inputs import grouped_outputs
from qacomp.calibration.text_vectors import share_of

PASSES = 3
"""Count the runs over the inputs, with other values sent back each time."""
MOST_WEIGHTS = 1 << 25
"""Weights of a model that is run backwards as a whole."""
MOST_VALUES = 4_096
"""Values of a layer's output: the moment of one with more, such as the scores of all words, is too large."""
_LEAST = 1e-9  # variation of an output below which it is constant


class GradientSums:
    """Sums of g gᵀ at the outputs of modules, over all positions: float64, (groups, values of a group, the same)."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._modules, self._sums, self._counts = modules, dict[str, Tensor](), dict[str, int]()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Add what goes back through the modules in the block."""
        handles = [module.register_forward_hook(self._watcher(name)) for name, module in self._modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def means(self) -> dict[str, Tensor]:
        """Return the mean over all positions, by the names of the modules; none for one that nothing reached."""
        return {
            name: total / self._counts[name]
            for name, total in self._sums.items()
            if bool(torch.isfinite(total).all()) and bool(total.any())
        }

    def _watcher(self, name: str) -> Callable[[nn.Module, Any, Any], Tensor | None]:
        def add(gradient: Tensor) -> None:
            rows = grouped_outputs(self._modules[name], gradient.detach()).double()
            moment = rows @ rows.transpose(1, 2)
            self._sums[name] = self._sums[name] + moment if name in self._sums else moment
            self._counts[name] = self._counts.get(name, 0) + rows.shape[2]

        def watch(module: nn.Module, given: Any, made: Any) -> Tensor | None:
            if not (isinstance(made, Tensor) and made.is_floating_point() and torch.is_grad_enabled()):
                return None
            if not made.requires_grad:  # nothing before it has a gradient, such as a table's rows
                made = made.detach().requires_grad_(True).clone()  # a leaf couldn't be changed in place
            watched: Tensor = made
            watched.register_hook(add)  # type: ignore[no-untyped-call]
            return watched

        return watch


def spreads_of(runs: Iterable[Mapping[str, Tensor]]) -> dict[str, float]:
    """Return how each output (..., values) of several runs varies: the mean over its rows of |y − mean y|²."""
    counts, sums, squares = dict[str, int](), dict[str, Tensor](), dict[str, float]()
    for outputs in runs:
        for name, found in outputs.items():
            rows = found.detach().reshape(-1, found.shape[-1])
            counts[name] = counts.get(name, 0) + len(rows)
            sums[name] = sums.get(name, torch.zeros(())) + rows.sum(0, dtype=torch.float64)
            squares[name] = squares.get(name, 0.0) + float((rows.double() ** 2).sum())
    means = {name: total / counts[name] for name, total in sums.items()}
    return {name: squares[name] / counts[name] - float((mean**2).sum()) for name, mean in means.items()}


def sent_back(outputs: Mapping[str, Tensor], spreads: Mapping[str, float], generator: torch.Generator) -> Tensor | None:
    """Return a number whose gradient sends values drawn at random back from outputs (texts, ..., values).

    Outputs count by their shares (see `share_of`), relative to how they vary over all texts: `spreads`. Each
    text counts alike, and so do the rows of a text. None if no output varies.
    """
    terms = []
    for name, found in outputs.items():
        rows = found.reshape(-1, found.shape[-1])
        if rows.requires_grad and spreads.get(name, 0.0) > _LEAST:
            drawn = torch.randn(rows.shape, generator=generator).to(rows)
            scale = share_of(name, outputs) * len(found) / (len(rows) * spreads[name])
            terms.append((rows * drawn).sum() * scale**0.5)
    return torch.stack(terms).sum() if terms else None
