"""How far the outputs of an ONNX model move when weights have other values: one session serves all trials."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from qacomp.graphs.open_weights import with_defaults
from qacomp.runtime.agreement import Feed
from qacomp.runtime.session import open_session

_SAME = 1e-12  # of Σ y²: an output that varies by less is constant but for rounding
_MOST = 10.0  # times as far as the output varies: noise, or values that are no numbers
_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)", "tensor(bfloat16)")


class OutputDistance:
    """Runs a model on a few inputs with changed weights. Each output counts alike, however many values it has.

    model: with its own weights, which become inputs with defaults, and is changed; weights: the names of their values.
    """

    def __init__(self, model: ModelProto, weights: Sequence[str], feeds: Sequence[Feed]) -> None:
        self.opened = frozenset(with_defaults(model, weights))
        self._feeds = feeds
        self._session = open_session(model)
        self._names = [o.name for o in self._session.get_outputs() if o.type in _FLOATS]
        self._wanted = [self._run(feed, {}) for feed in feeds] if self._names else []
        self._sizes = [_variation([run[i] for run in self._wanted]) for i in range(len(self._names))]

    @property
    def measures(self) -> bool:
        """Return whether any output is a number that varies with the inputs."""
        return any(size > 0 for size in self._sizes)

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return Σ|y − ŷ|² / Σ|y − mean y|², the mean over the outputs that vary, each at most 10.

        values: by the weights' names, which must be among `opened`.
        """
        errors = np.zeros(len(self._names))
        for feed, wanted in zip(self._feeds, self._wanted, strict=True):
            errors += [_error(a, b) for a, b in zip(wanted, self._run(feed, values), strict=True)]
        told = [min(error / size, _MOST) for error, size in zip(errors, self._sizes, strict=True) if size > 0]
        return float(np.mean(told)) if told else 0.0

    def _run(self, feed: Feed, values: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float64]]:
        found = self._session.run(self._names, {**feed, **values}, kept=False)
        return [np.asarray(y, np.float64) for y in found]


def _error(wanted: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Return Σ|y − ŷ|² over the wanted values that are numbers; infinite for no numbers, or for another shape."""
    if wanted.shape != found.shape:
        return float("inf")
    finite = np.isfinite(wanted)
    off = wanted[finite] - found[finite]
    return float((off**2).sum()) if np.isfinite(off).all() else float("inf")


def _variation(runs: Sequence[NDArray[np.float64]]) -> float:
    """Return Σ|y − mean y|² over the runs; the mean of each value over them, or, where shapes differ, of all values.

    0 for an output that is constant or empty.
    """
    several = len(runs) > 1 and len({run.shape for run in runs}) == 1
    rows = np.stack(runs).reshape(len(runs), -1) if several else np.concatenate([r.reshape(-1) for r in runs])[:, None]
    rows = rows[:, np.isfinite(rows).all(axis=0)] if several else rows[np.isfinite(rows).all(axis=1)]
    if not rows.size:
        return 0.0
    varies = float(((rows - rows.mean(axis=0)) ** 2).sum())
    return varies if varies > _SAME * float((rows**2).sum()) else 0.0
