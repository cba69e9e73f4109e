"""Measure the error of each shared tensor at the operators that read it, relative to their outputs, in decibels.

10·log10(Σ|op(x, W) − op(x, Ŵ)|² / Σ|op(x, W)|²), where x are the operator's inputs in the original model. So no later
layer can hide an error. If no operator can be run, the error is the relative error of the weights themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.graphs.twins import Twins, with_twins
from qacomp.runtime.agreement import Feed
from qacomp.runtime.session import open_session

WEIGHTS = "weights"
"""Stands for the operator's type if no operator was run, and the error is that of the weights."""
_PART = 1 << 22  # values that are compared at once: 32 MiB in double precision
_EXACT = -200.0  # decibels, stands for no error: below what float64 resolves


@dataclass(frozen=True)
class OperatorError:
    """`db`: decibels, negative if the error is smaller than the output; `of`: the operator's type, or WEIGHTS."""

    db: float
    of: str


def decibels(error: float, size: float) -> float:
    """Compute 10·log10(error / size) of two sums of squares; −200 for no error, 0 if `size` is 0 and `error` isn't."""
    if error <= 0:
        return _EXACT
    return max(_EXACT, 10 * math.log10(error / size)) if size > 0 else 0.0


def weight_error(original: NDArray[Any], shared: NDArray[Any]) -> OperatorError:
    """Compute the relative error of the weights themselves: Σ|shared − original|² / Σ|original|², in decibels."""
    error = size = 0.0
    a, b = original.reshape(-1), shared.reshape(-1)
    for start in range(0, a.size, _PART):
        parts = (array[start : start + _PART] for array in (a, b))
        before, after = (bfloat16_to_float32(part) if part.dtype == BFLOAT16 else part for part in parts)
        wide = before.astype(np.float64)
        error += float(((after - wide) ** 2).sum())
        size += float((wide**2).sum())
    return OperatorError(decibels(error, size), WEIGHTS)


class OperatorErrors:
    """Measures the errors of changed weights in one model, with one session for all of them.

    names: tensor name -> the weight's name in the model; feeds: inputs on which the original is run each time.
    """

    def __init__(self, model: ModelProto, names: Mapping[str, str], feeds: Sequence[Feed]) -> None:
        self.names, self.feeds = names, feeds
        self.twins: Twins = with_twins(model, names.values())
        self.session = open_session(self.twins.model) if self.twins.probes else None

    def __call__(
        self, original: Mapping[str, NDArray[Any]], changed: Mapping[str, NDArray[Any]]
    ) -> dict[str, OperatorError]:
        """Return the error of each weight in `changed`, by tensor name; of several operators the largest counts."""
        plain = {name: weight_error(original[name], values) for name, values in changed.items()}
        if self.session is None:
            return plain
        owners = {value: name for name, value in self.names.items()}
        given = {self.twins.inputs[v]: changed.get(owners[v], original[owners[v]]) for v in self.twins.inputs}
        sums = np.zeros((len(self.twins.probes), 2))
        for feed in self.feeds:
            values = np.array(self.session.run(self.twins.outputs, {**feed, **given}), np.float64).reshape(-1, 2)
            sums += np.where((values >= 0).all(axis=1, keepdims=True), values, 0.0)  # −1 marks a branch that didn't run
        found: dict[str, OperatorError] = {}
        for probe, (error, size) in zip(self.twins.probes, sums, strict=True):
            name = owners[probe.weight]
            if name in changed and size > 0 and math.isfinite(error) and math.isfinite(size):
                own = OperatorError(decibels(error, size), probe.op)
                found[name] = max(own, found.get(name, own), key=lambda e: e.db)
        return plain | found
