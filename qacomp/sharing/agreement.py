"""Which tensors get more than K shared values, for outputs that agree with the original's (`--min-agreement`).

A few inputs say little of others, so a tensor's part is half what it does to the outputs alone, and half what its
channels lost, which holds for inputs that nobody drew; K grows where that falls most for a bit. Each choice is tried as
a whole. Where only weights are known, the tensors' own losses are bounded.
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

AUTO_AGREEMENT, AUTO_FROM_K = 0.9999, 256  # who asks for so many values wants the same outputs
_MARGIN = 0.6  # of the deviation that is allowed: other inputs may be hit harder than those that were tried
_OF_A_TENSOR = 0.035  # of it, on the average over tensors, where no outputs are known
_TRIALS, _STEEPEST, _FLATTEST = 4, 1 / 16, 0.7  # and how far each of them lowers the errors
_WHOLE = "all its values"

Original = Callable[[str], NDArray[Any]]
"""A tensor's own values by its name."""


@dataclass(frozen=True)
class Aim:
    """`deviation`: 1 − cosine that outputs may be off; `asked`: the user named it, so that less is a failure."""

    deviation: float
    asked: bool

    def reached(self, deviation: float | None) -> str | None:
        """Return None where the aim is reached; else what to say of a default that isn't.

        deviation: of the worst output, None where it isn't known. Raises AgreementNotReachedError where it was asked.
        """
        if deviation is not None and deviation <= self.deviation:
            return None
        wanted = f"{1 - self.deviation:.10g}"
        if deviation is None:
            if self.asked:
                raise AgreementNotReachedError(
                    f"--min-agreement {wanted}: the outputs can't be compared with the original's, so nothing is"
                    " written; give --data with inputs that the model runs with, or leave it"
                )
            return None
        found = f"cosine {1 - deviation:.10g}"
        if self.asked:
            raise AgreementNotReachedError(
                f"--min-agreement {wanted}: reached {found} with all the values that tensors may get, so nothing is"
                " written; give a larger --k, or ask for less"
            )
        return f"{found}, where {wanted} is what is aimed at from --k {AUTO_FROM_K} on"


def aim(config: CompressConfig) -> Aim | None:
    """Return the cosine to reach, or None where K stays K."""
    if config.min_agreement is not None:
        return Aim(1 - config.min_agreement, True) if config.min_agreement > 0 else None
    plain = config.codebook == "tensor" and config.levels is None
    return Aim(1 - AUTO_AGREEMENT, False) if config.k >= AUTO_FROM_K and plain else None


@dataclass(frozen=True)
class Trials:
    """How a choice is tried. run: shares the tensors of a selection and runs the model; 1 − cosine of its worst output,
    None where it can't be run.

    shared: a tensor's values as they were shared last; felt: of each tensor shared so, what it does to the outputs
    alone, or to its own operators, in any unit.
    """

    run: Callable[[Selection], float | None]
    shared: Original
    felt: Callable[[], Mapping[str, float]]


def refined(
    selection: Selection, config: CompressConfig, original: Original, trials: Trials
) -> tuple[Selection, str | None]:
    """Return the selection with as many values as outputs need to agree, and a remark where they still don't.

    It is the one that was tried last. Raises AgreementNotReachedError where the user's aim can't be reached.
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
    """Raise k for tensors of a model that can't be run, if `min_agreement` is given."""
    if not config.min_agreement or not selection.layers:
        return selection

    layers = {layer.name: layer for layer in selection.layers}

    @functools.cache
    def shared(name: str, k: int) -> NDArray[Any]:
        make = share_array if k == config.k else shared_form  # what isn't smaller with K is kept, and loses nothing
        return make(
            original(name), replace(layers[name], k=k), "tensor", config.stored_precision, config.rounding
        ).dense()

    losses = Losses(selection, config, original, lambda name: shared(name, config.k), shared)
    total = sum(losses(name, config.k) for name in losses.layers)
    wanted = _OF_A_TENSOR * (1 - config.min_agreement) * len(losses.layers)
    return losses.lowered(wanted / total) if total > wanted else selection


def raised_note(layers: Iterable[Layer], k: int) -> str | None:
    """Return a note to the user on the tensors with more values."""
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
    """What the tensors of a selection that have K values lose, as measured, and what they would lose with more.

    shared: a tensor's values as they are shared with K; at: with any number, None where that isn't clustered to choose,
    since a trial follows: on a fine codebook m times as many values leave 1 / m² of the error (Bennett, 1948). Tensors
    that the user gave another K aren't touched.
    """

    def __init__(
        self,
        selection: Selection,
        config: CompressConfig,
        original: Original,
        shared: Original,
        at: Callable[[str, int], NDArray[Any]] | None = None,
    ) -> None:
        self.selection, self.k, self.original, self.at = selection, config.k, original, at
        self.layers = {layer.name: layer for layer in selection.layers if layer.k == config.k}
        self.relative = {name: self._relative(layer, shared(name)) for name, layer in self.layers.items()}
        self.values = {name: distinct_values(_floats(original(name))) for name in self.layers}
        self.weights = dict.fromkeys(self.layers, 1.0)

    def __call__(self, name: str, k: int) -> float:
        """Compute the weighted `relative_error` of a tensor at k shared values; 0 where those are all it has."""
        if k >= self.values[name]:
            return 0.0
        if self.at is not None and k != self.k:
            return self.weights[name] * self._relative(self.layers[name], self.at(name, k))
        return self.weights[name] * self.relative[name] * (self.k / k) ** 2

    def weigh(self, measured: Mapping[str, float]) -> None:
        """Let a tensor's loss at K be half its share in `measured`, half its share in the relative errors."""
        felt = {name: measured.get(name, 0.0) for name in self.layers}
        totals = sum(felt.values()) or 1.0, sum(self.relative.values()) or 1.0
        for name, error in self.relative.items():
            part = (felt[name] / totals[0] + error / totals[1]) / 2
            self.weights[name] = part / error if error else 0.0

    def lowered(self, share: float) -> Selection:
        """Return the selection with more values, so that the losses' sum falls to `share` of that at K."""
        sizes = allocate(self.values, self.k, self, share)
        layers = (self._raised(layer, sizes.get(layer.name, layer.k)) for layer in self.selection.layers)
        return replace(self.selection, layers=tuple(layers))

    def _relative(self, layer: Layer, shared: NDArray[Any]) -> float:
        return relative_error(_floats(self.original(layer.name)), _floats(shared), layer.axis)

    def _raised(self, layer: Layer, k: int) -> Layer:
        if k == layer.k:
            return layer
        lost = f"of {layer.k} its channels lose {self.relative[layer.name]:.1e}"
        more = _WHOLE if k >= self.values[layer.name] else f"{k:,} values"
        why = f"{more} for --min-agreement: {lost}"
        return replace(layer, k=k, reason=f"{layer.reason}; {why}" if layer.reason else why)


def _floats(array: NDArray[Any]) -> NDArray[np.floating]:
    floats: NDArray[np.floating] = bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
    return floats
