"""Which tensors get more than K shared values, for outputs that agree with the original's (`--min-agreement`).

Where the model runs, it is run with one tensor shared at a time. A few inputs say little of others, so a tensor's part
is half what it did to the outputs, and half what its channels lost; K grows where that falls most for a bit. Where only
weights are known, the tensors' own losses are bounded.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.config import CompressConfig
from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.selection import Layer, Selection
from qacomp.sharing.allocation import allocate, distinct_values, relative_error
from qacomp.sharing.arrays import share_array

AUTO_AGREEMENT, AUTO_FROM_K = 0.9999, 256  # who asks for so many values wants the same outputs
_MARGIN = 0.6  # of the deviation that is allowed: other inputs may be hit harder than those that were tried
_OF_A_TENSOR = 0.035  # of it, on the average over tensors, where no outputs are known
_TRIALS, _STEEPEST, _FLATTEST = 4, 1 / 16, 0.7  # and how far each of them lowers the errors
_WHOLE = "all its values"
_MOST_ALONE, _MOST_VALUES = 64, 20_000_000  # tensors, weights: of more, none is tried alone, which takes too long

Original = Callable[[str], NDArray[Any]]
"""A tensor's own values by its name."""


def allowed_deviation(config: CompressConfig) -> float | None:
    """1 − cosine that outputs may be off; None: K is K."""
    wanted = config.min_agreement
    if wanted is None:
        plain = config.codebook == "tensor" and config.levels is None
        wanted = AUTO_AGREEMENT if config.k >= AUTO_FROM_K and plain else 0.0
    return 1 - wanted if wanted > 0 else None


def refined(
    selection: Selection,
    config: CompressConfig,
    original: Original,
    trial: Callable[[Selection], float | None],
    alone: Callable[[str], float | None],
) -> Selection:
    """The selection with as many values as it takes for outputs to agree; it is the one that was tried last.

    trial: shares the tensors of a selection and runs the model; 1 − cosine of its worst output, None where it can't be
    run. alone: the same with one of the tensors shared, the others as they were.
    """
    allowed, deviation = allowed_deviation(config), trial(selection)
    if allowed is None or deviation is None or deviation <= _MARGIN * allowed:
        return selection
    losses = Losses(selection, config, original)
    weights = sum(math.prod(layer.shape) for layer in losses.layers.values())
    if len(losses.layers) <= _MOST_ALONE and weights <= _MOST_VALUES:
        losses.weigh({name: alone(name) or 0.0 for name in losses.layers})
    share = 1.0
    for _ in range(_TRIALS):
        share *= max(_STEEPEST, min(_FLATTEST, _MARGIN * allowed / deviation))
        selection = losses.lowered(share)
        deviation = trial(selection) or 0.0
        if deviation <= _MARGIN * allowed:
            break
    return selection


def refined_alone(selection: Selection, config: CompressConfig, original: Original) -> Selection:
    """More values for tensors of a model that can't be run, if `min_agreement` is given."""
    if not config.min_agreement or not selection.layers:
        return selection
    losses = Losses(selection, config, original)
    total = sum(losses(name, config.k) for name in losses.layers)
    aim = _OF_A_TENSOR * (1 - config.min_agreement) * len(losses.layers)
    return losses.lowered(aim / total) if total > aim else selection


def raised_note(layers: Iterable[Layer], k: int) -> str | None:
    """What the user hears of it."""
    raised = [layer for layer in layers if "--min-agreement" in layer.reason]
    more = [layer for layer in raised if _WHOLE not in layer.reason]
    parts = []
    if more:
        tensors = "1 tensor has" if len(more) == 1 else f"{len(more)} tensors have"
        parts.append(f"{tensors} more than {k} values, up to {max(x.k for x in more):,}")
    if whole := len(raised) - len(more):
        parts.append("1 tensor keeps all its values" if whole == 1 else f"{whole} tensors keep all their values")
    return f"{', '.join(parts)} (--min-agreement 0: none)" if parts else None


class Losses:
    """What the tensors of a selection that have K values lose, each at any number of values; clustered once for each.

    Tensors that the user gave another K aren't touched.
    """

    def __init__(self, selection: Selection, config: CompressConfig, original: Original) -> None:
        self.selection = selection
        self.k, self.side, self.rounding = config.k, config.side, config.rounding
        self.layers = {layer.name: layer for layer in selection.layers if layer.k == config.k}
        self.original = original
        self.weights = dict.fromkeys(self.layers, 1.0)
        self._known: dict[tuple[str, int], float] = {}

    def __call__(self, name: str, k: int) -> float:
        """The weighted `relative_error` of a tensor at k shared values; 0 where it isn't shared after all."""
        return self.weights[name] * self._relative(name, k)

    def weigh(self, measured: dict[str, float]) -> None:
        """Let a tensor's loss at K be half its share in `measured`, half its share in the relative errors."""
        relative = {name: self._relative(name, self.k) for name in self.layers}
        totals = sum(measured.values()) or 1.0, sum(relative.values()) or 1.0
        for name, error in relative.items():
            part = (measured[name] / totals[0] + error / totals[1]) / 2
            self.weights[name] = part / error if error else 0.0

    def lowered(self, share: float) -> Selection:
        """The selection with more values, so that the losses' sum falls to `share` of that at K."""
        values = {name: distinct_values(_floats(self.original(name))) for name in self.layers}
        sizes = allocate(values, self.k, self, share)
        layers = (self._raised(layer, sizes.get(layer.name, layer.k)) for layer in self.selection.layers)
        return replace(self.selection, layers=tuple(layers))

    def _relative(self, name: str, k: int) -> float:
        if (name, k) not in self._known:
            array, layer = self.original(name), replace(self.layers[name], k=k)
            packed = share_array(array, layer, "tensor", self.side, self.rounding)
            error = 0.0 if packed.kept else relative_error(_floats(array), _floats(packed.dense()), layer.axis)
            self._known[name, k] = error
        return self._known[name, k]

    def _raised(self, layer: Layer, k: int) -> Layer:
        if k == layer.k:
            return layer
        before, after = self._relative(layer.name, layer.k), self._relative(layer.name, k)
        if not after:
            why = f"{_WHOLE} for --min-agreement: of {layer.k} its channels lose {before:.1e}"
            return replace(layer, k=k, reason=f"{layer.reason}; {why}" if layer.reason else why)
        why = f"{k:,} values for --min-agreement: its channels lose {after:.1e}, of {layer.k} values {before:.1e}"
        return replace(layer, k=k, reason=f"{layer.reason}; {why}" if layer.reason else why)


def _floats(array: NDArray[Any]) -> NDArray[np.floating]:
    floats: NDArray[np.floating] = bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
    return floats
