"""Log the scales that a search tries, with bytes and distances, so that a report shows the front around its choice."""

import math
from dataclasses import replace
from functools import cache

from qacomp.calibration.weights_alone import WeightsAlone
from qacomp.rate.calibrated import CalibratedModel
from qacomp.rate.record import RateSearch, ScaleTrial, finite
from qacomp.rate.sharing import RateSharing
from qacomp.stages.made import Made
from qacomp.stages.scaled import Scaled
from qacomp.stages.validation import Validation

_APART, _MOST = 1.15, 5  # ratio of neighbouring scales with both figures, and how many have them: they cost time
_MOST_LARGE = 3  # of a large source


class TrialLog:
    """Measures a source at scales for one search, each figure once, and remembers the figures.

    A search needs only bytes, or only distances. For some scales that lie apart the other figure is measured too, while
    the tensors of that scale are at hand; it changes nothing in the search. before_tuning: that of the source.
    """

    def __init__(self, scaled: Scaled) -> None:
        self._scaled = scaled
        self._bytes: dict[float, int] = {}
        self._distances: dict[float, float] = {}
        self._validations: dict[float, Validation] = {}
        self.before_tuning = None if scaled.before_tuning is None else cache(scaled.before_tuning)

    def validated(self, scale: float) -> Validation:
        """Return what decides whether a scale may be taken, see `Validation`; measured once."""
        if scale not in self._validations:
            self._validations[scale] = self._scaled.validated(scale)
        return self._validations[scale]

    @property
    def finest_validated(self) -> float:
        """Return the smallest scale of those whose `validated` was measured."""
        return min(self._validations)

    def weight_bytes(self, scale: float) -> int:
        """Return the bytes of the shared tensors at a scale; of a large source an estimate, which isn't logged."""
        if self._scaled.quick_bytes is not None:
            return self._scaled.quick_bytes(scale)
        self._measure_bytes(scale)
        if self._lies_apart(scale):
            self._measure_distance(scale)
        return self._bytes[scale]

    def distance(self, scale: float) -> float:
        """Return how far the outputs move at a scale."""
        self._measure_distance(scale)
        if self._lies_apart(scale):
            self._measure_bytes(scale)
        return self._distances[scale]

    def chosen(self, scale: float) -> RateSearch:
        """Return the record of the search that ended at this scale; both of its figures are measured."""
        self._measure_bytes(scale)
        self._measure_distance(scale)
        tried = sorted({*self._bytes, *self._distances, *self._validations})
        return RateSearch(tuple(self._trial(s) for s in tried), scale)

    def _trial(self, scale: float) -> ScaleTrial:
        found = self._validations.get(scale)
        told = (None, None) if found is None else (None if found.loss is None else found.loss.lost, found.agreement)
        return ScaleTrial(scale, self._bytes.get(scale), finite(self._distances.get(scale)), *told)

    def _measure_bytes(self, scale: float) -> None:
        if scale not in self._bytes:
            self._bytes[scale] = self._scaled.shared_bytes(scale)

    def _measure_distance(self, scale: float) -> None:
        if scale not in self._distances:
            self._distances[scale] = self._scaled.distance(scale)

    def _lies_apart(self, scale: float) -> bool:
        both = self._bytes.keys() & self._distances.keys()
        most = _MOST if self._scaled.quick_bytes is None else _MOST_LARGE
        return len(both) < most and all(abs(math.log(scale / other)) > math.log(_APART) for other in both)


def with_sensitivities(made: Made, sharing: RateSharing, model: CalibratedModel, *, inputs_given: bool) -> Made:
    """Return `made` with the sensitivities of its weights in its record. inputs_given: they are the user's own."""
    found, alone = made.search or RateSearch(), isinstance(model, WeightsAlone)
    told = replace(
        found,
        sensitivities=dict(sharing.sensitivities),
        of_outputs=not alone,
        inputs=model.text,
        inputs_given=inputs_given and not alone,
    )
    return replace(made, search=told)
