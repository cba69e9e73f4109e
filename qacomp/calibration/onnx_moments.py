"""Second moments of what the operators of an ONNX model multiply their weights with, as they occur in its runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from qacomp.calibration.halved_moment import HalvedMoment
from qacomp.calibration.layer_inputs import second_moment
from qacomp.calibration.operator_inputs import operator_columns, operator_view
from qacomp.calibration.placement import places_read
from qacomp.calibration.windows import Pick
from qacomp.graphs.taps import Tap, with_taps
from qacomp.rate.calibrated import Moment
from qacomp.rate.matrices import MatrixView, PlacedView, View
from qacomp.runtime.agreement import Feed
from qacomp.runtime.session import open_session

_POSITIONS = 40_000  # of all runs together that are taken into a weight's moment: neighbours say little more
_PAIRED = 4  # from so many runs on, a half has pairs of neighbours: generated inputs are loud and quiet in turns
_MOST_INPUTS = 6_144  # of a row: the factor of one with more takes minutes and gigabytes


class _Sum:
    """The moment of one weight so far. shape: the weight's, as its operators read it; view: of its own tensor."""

    def __init__(self, shape: tuple[int, ...], view: View) -> None:
        self.shape, self.view = shape, view
        self.taps: list[Tap] = []
        self._sum = HalvedMoment()

    def add(self, tap: Tap, data: Sequence[NDArray[Any]], pick: Pick, number: int) -> None:
        """Add what one operator read in a run; nothing where it didn't run, or where values are no numbers.

        number: see `HalvedMoment.add`.
        """
        taken = operator_columns(tap, self.shape, data, pick)
        if taken is None or not bool(torch.isfinite(taken).all()):
            return
        self._sum.add(second_moment(taken), taken.shape[2], number)

    def moment(self) -> Moment | None:
        """Return the mean over all positions, None where there was none."""
        mean = self._sum.mean()
        return None if mean is None else Moment(self.view, mean.numpy())


def operator_moments(
    model: ModelProto,
    weights: Mapping[str, tuple[int, ...]],
    feeds: Sequence[Feed],
    seed: int,
    advance: Callable[[], None],
) -> dict[str, Moment]:
    """Return the moment of each weight that only operators read which are known here; see `with_taps`.

    model: is changed; weights: their values' names, and shapes. The activations of one run are held at a time, and of
    all runs together about 40,000 positions of each weight are taken, at random places. advance: called after each run.
    Raises ExportError where onnxruntime refuses the model with the further outputs.
    """
    tapped = with_taps(model, weights)
    session = open_session(tapped.model)
    placed = places_read(session, tapped, weights, feeds[0])
    sums = _sums(tapped.taps, weights, placed)
    names = sorted({name for known in sums.values() for tap in known.taps for name in tap.data})
    most = -(-_POSITIONS // len(feeds))
    together = 2 if len(feeds) >= _PAIRED else 1
    for run, feed in enumerate(feeds):
        found = dict(zip(names, session.run(names, feed, kept=False), strict=True)) if names else {}
        for number, known in enumerate(sums.values()):
            pick = _picker(np.random.default_rng([seed, run, number]), most)
            for tap in known.taps:
                known.add(tap, [found[name] for name in tap.data], pick, run // together)
        advance()
    moments = {weight: known.moment() for weight, known in sums.items()}
    return {weight: moment for weight, moment in moments.items() if moment is not None}


def _sums(
    taps: Sequence[Tap], weights: Mapping[str, tuple[int, ...]], placed: Mapping[str, NDArray[np.integer]]
) -> dict[str, _Sum]:
    """Return an empty sum for each weight whose operators see it alike, as one set of matrices.

    An operator that doesn't run, since its branch isn't taken, doesn't count.
    """
    sums: dict[str, _Sum] = {}
    refused = set()
    for tap in taps:
        places = placed.get(tap.held)
        if places is not None and not places.size:
            continue
        shape = weights[tap.weight] if places is None else places.shape
        view = None if tap.held and places is None else operator_view(tap, shape)
        if view is None or view.inputs > _MOST_INPUTS:
            refused.add(tap.weight)
            continue
        own = view if places is None else PlacedView(view.matrices(places))
        known = sums.setdefault(tap.weight, _Sum(tuple(shape), own))
        if not _alike(known.view, own):
            refused.add(tap.weight)
        known.taps.append(tap)
    return {weight: known for weight, known in sums.items() if weight not in refused}


def _alike(one: View, other: View) -> bool:
    if isinstance(one, MatrixView) or isinstance(other, MatrixView):
        return one == other
    return np.array_equal(one.places, other.places)


def _picker(rng: np.random.Generator, most: int) -> Pick:
    def pick(count: int) -> Tensor | None:
        return torch.from_numpy(rng.integers(0, count, most)) if count > most else None

    return pick
