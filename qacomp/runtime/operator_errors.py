"""Measure the error of each shared tensor at the operators that read it, relative to their outputs, in decibels.

10·log10(Σ|op(x, W) − op(x, Ŵ)|² / Σ|op(x, W)|²), where x are the operator's inputs in the original model. So no later
layer can hide an error. If no operator can be run, the error is the relative error of the weights themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from qacomp.graphs.twins import Twins, with_twins
from qacomp.runtime.agreement import Feed
from qacomp.runtime.operator_error import OperatorError, decibels, weight_error
from qacomp.runtime.session import open_session


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
