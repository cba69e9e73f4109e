"""Give tensors more than K shared values until the outputs agree with the original's (`--min-agreement`).

A tensor's loss is estimated from two things: half of it is the tensor's effect on the outputs for a few inputs, and
half the relative error of its channels, which doesn't depend on the inputs. K grows for the tensor whose loss falls
most for each bit. Each choice for all tensors is then tried by running the model. If the model can't be run, the
tensors' own losses are limited instead.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import AgreementNotReachedError
from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.options.config import CompressConfig
from qacomp.sharing.allocation import allocate, distinct_values, relative_error
from qacomp.sharing.selection import Layer, Selection
from qacomp.sharing.share import share_array, shared_form

AUTO_AGREEMENT, AUTO_FROM_K = 0.9999, 256  # the default from this K on, where users expect the same outputs
_MARGIN = 0.6  # aim at this part of the allowed deviation, since other inputs may have larger errors
_OF_A_TENSOR = 0.035  # part of the allowed deviation for a tensor on average, if the model can't be run
_TRIALS, _STEEPEST, _FLATTEST = 4, 1 / 16, 0.7  # most trials, and the bounds of the factor by which each lowers losses
_WHOLE = "all its values"

Original = Callable[[str], NDArray[Any]]
"""A function that returns a tensor's values, given its name."""


@dataclass(frozen=True)
class Aim:
    """The agreement to reach. deviation: allowed 1 − cosine; asked: the user requires it, so missing it is an error."""

    deviation: float
    asked: bool

    def reached(self, deviation: float | None) -> str | None:
        """Return None if the aim is reached, or can't be checked; else a note that the default aim isn't reached.

        deviation: 1 − cosine of the worst output, None if unknown. Raises AgreementNotReachedError if the user requires
        the aim and it isn't reached or can't be checked.
        """
        if deviation is not None and deviation <= self.deviation:
            return None
        wanted = f"{1 - self.deviation:.10g}"
        if deviation is None:
            if self.asked:
                raise AgreementNotReachedError(
                    f"--min-agreement {wanted}: the outputs can't be compared with the original's, so nothing is"
                    " written; give --data with inputs that the model accepts, or leave --min-agreement out"
                )
            return None
        found = f"cosine {1 - deviation:.10g}"
        if self.asked:
            raise AgreementNotReachedError(
                f"--min-agreement {wanted}: reached {found} with the most shared values, so nothing is written;"
                " give a larger --k or a lower --min-agreement"
            )
        return f"{found}, below {wanted}, the default target from --k {AUTO_FROM_K} on"


def aim(config: CompressConfig) -> Aim | None:
    """Return the agreement to reach, or None if tensors keep their K."""
    if config.min_agreement is not None:
        return Aim(1 - config.min_agreement, True) if config.min_agreement > 0 else None
    plain = config.codebook == "tensor" and config.levels is None
    return Aim(1 - AUTO_AGREEMENT, False) if config.shared_values >= AUTO_FROM_K and plain else None


@dataclass(frozen=True)
class Trials:
    """The functions with which a choice is tried.

    run: shares the tensors of a selection, runs the model and returns 1 − cosine of its worst output, or None if it
    can't be run; shared: returns a tensor's values as shared last; felt: returns for each tensor the effect of sharing
    it alone on the outputs, or on its own operators, in any unit.
    """

    run: Callable[[Selection], float | None]
    shared: Original
    felt: Callable[[], Mapping[str, float]]


def refined(
    selection: Selection, config: CompressConfig, original: Original, trials: Trials
) -> tuple[Selection, str | None]:
    """Return the selection with enough values for the outputs to agree, and a note if they still don't.

    The selection is the one that was tried last. Raises AgreementNotReachedError if the user's aim isn't reached.
    """
    wanted, deviation = aim(config), trials.run(selection)
    if wanted is None:
        return selection, None
    if deviation is None or deviation <= _MARGIN * wanted.deviation:
        return selection, wanted.reached(deviation)
    losses = Losses(selection, config, original, trials.shared)
    losses.weigh(trials.felt())
    share, best = 1.0, selection
    for _ in range(_TRIALS):
        share *= max(_STEEPEST, min(_FLATTEST, _MARGIN * wanted.deviation / deviation))
        best = losses.lowered(share)
        deviation = trials.run(best) or 0.0
        if deviation <= _MARGIN * wanted.deviation:
            break
    if deviation > wanted.deviation and (most := losses.lowered(0.0)) != best:
        best, deviation = most, trials.run(most)
    return best, wanted.reached(deviation)


def refined_alone(selection: Selection, config: CompressConfig, original: Original) -> Selection:
    """Return the selection with more values for a model that can't be run, if `min_agreement` is given."""
    if not config.min_agreement or not selection.layers:
        return selection

    layers = {layer.name: layer for layer in selection.layers}

    @functools.cache
    def shared(name: str, k: int) -> NDArray[Any]:
        own = k == config.shared_values
        make = share_array if own else shared_form  # with K, a tensor that wouldn't get smaller is kept
        return make(
            original(name), replace(layers[name], k=k), "tensor", config.stored_precision, config.rounding
        ).dense()

    losses = Losses(selection, config, original, lambda name: shared(name, config.shared_values), shared)
    total = sum(losses(name, config.shared_values) for name in losses.layers)
    wanted = _OF_A_TENSOR * (1 - config.min_agreement) * len(losses.layers)
    return losses.lowered(wanted / total) if total > wanted else selection


def raised_note(layers: Iterable[Layer], k: int) -> str | None:
    """Return a note about the tensors that have more than k values, or None."""
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
    """The losses of the tensors of a selection with K values, and estimates for more values.

    shared: returns a tensor's values as shared with K; at: returns them as shared with any k, or None to estimate the
    error instead: m times as many values in a fine codebook leave 1 / m² of it (Bennett, 1948). Tensors for which the
    user gave another K aren't changed.
    """

    def __init__(
        self,
        selection: Selection,
        config: CompressConfig,
        original: Original,
        shared: Original,
        at: Callable[[str, int], NDArray[Any]] | None = None,
    ) -> None:
        self.selection, self.k, self.original, self.at = selection, config.shared_values, original, at
        self.layers = {layer.name: layer for layer in selection.layers if layer.k == self.k}
        self.relative = {name: self._relative(layer, shared(name)) for name, layer in self.layers.items()}
        self.values = {name: distinct_values(_floats(original(name))) for name in self.layers}
        self.weights = dict.fromkeys(self.layers, 1.0)

    def __call__(self, name: str, k: int) -> float:
        """Return the weighted `relative_error` of a tensor with k shared values; 0 if it has at most k values."""
        if k >= self.values[name]:
            return 0.0
        if self.at is not None and k != self.k:
            return self.weights[name] * self._relative(self.layers[name], self.at(name, k))
        return self.weights[name] * self.relative[name] * (self.k / k) ** 2

    def weigh(self, measured: Mapping[str, float]) -> None:
        """Set weights so that a tensor's loss at K is the mean of its shares of `measured` and of relative errors."""
        felt = {name: measured.get(name, 0.0) for name in self.layers}
        totals = sum(felt.values()) or 1.0, sum(self.relative.values()) or 1.0
        for name, error in self.relative.items():
            part = (felt[name] / totals[0] + error / totals[1]) / 2
            self.weights[name] = part / error if error else 0.0

    def lowered(self, share: float) -> Selection:
        """Return the selection with more values, so that the sum of losses falls to `share` of the sum at K."""
        sizes = allocate(self.values, self.k, self, share)
        layers = (self._raised(layer, sizes.get(layer.name, layer.k)) for layer in self.selection.layers)
        return replace(self.selection, layers=tuple(layers))

    def _relative(self, layer: Layer, shared: NDArray[Any]) -> float:
        return relative_error(_floats(self.original(layer.name)), _floats(shared), layer.axis)

    def _raised(self, layer: Layer, k: int) -> Layer:
        if k == layer.k:
            return layer
        lost = f"with {layer.k} the relative error of its channels is {self.relative[layer.name]:.1e}"
        more = _WHOLE if k >= self.values[layer.name] else f"{k:,} values"
        why = f"{more} for --min-agreement: {lost}"
        return replace(layer, k=k, reason=f"{layer.reason}; {why}" if layer.reason else why)


def _floats(array: NDArray[Any]) -> NDArray[np.floating]:
    floats: NDArray[np.floating] = bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
    return floats
