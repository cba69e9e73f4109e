"""Conformance of a pruning method, tested by a small compression on scikit-learn's digits."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from qacomp.api import compress
from qacomp.exporting.decode import decode
from qacomp.testing.suite import Suite, expect
from qacomp.training.pruning.methods import PRUNERS


class PrunerSuite(Suite):
    """The contract of `register_pruner`. `rate`: the share to prune; `given`: hyper-parameters beside it."""

    rate = 0.5
    given: Mapping[str, Any] = MappingProxyType({"epochs": 3})

    def network(self) -> nn.Module:
        """Return an untrained network for images of 8 by 8 pixels."""
        torch.manual_seed(0)
        convolution = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()
        return nn.Sequential(*convolution, nn.Linear(288, 24), nn.ReLU(), nn.Linear(24, 10))

    def pruned(self, folder: str) -> tuple[Any, dict[str, Any]]:
        """Compress with pruning; return the result, and the decoded weights by name."""
        method = {"name": self.name, "rate": self.rate} | dict(self.given)
        settings = {"k": 8, "tune_epochs": 0, "prune": method}
        result = compress(self.network(), "digits", settings, Path(folder, "m.qac"), force=True)
        return result, decode(result, to="numpy")

    def test_it_says_what_it_prunes(self) -> None:
        """Check that the unit is weight or filter, and the default rate None or between 0 and 1."""
        pruner = PRUNERS.find(self.name)(PRUNERS.options(PRUNERS.choice(self.name)))
        expect(pruner.unit in ("weight", "filter"), "the unit is weight or filter")
        expect(pruner.default_rate is None or 0 < pruner.default_rate < 1, "the default rate must be between 0 and 1")

    def test_so_many_parameters_go(self) -> None:
        """Check that about the given share of parameters is pruned, and that all weights are finite."""
        with tempfile.TemporaryDirectory() as folder:
            result, weights = self.pruned(folder)
            expect(result.pruning is not None and result.pruning.method == self.name, "the report names the method")
            expect(
                abs(1 - result.pruning.kept_share - self.rate) < 0.15,
                f"1 − {self.rate} must be kept, not {result.pruning.kept_share}",
            )
            expect(all(np.isfinite(value).all() for value in weights.values()), "weights stay finite")

    def test_it_repeats_itself(self) -> None:
        """Check that the same seed gives the same bytes."""
        with tempfile.TemporaryDirectory() as folder:
            first = self.pruned(folder)[0].output.read_bytes()
            second = self.pruned(folder)[0].output.read_bytes()
            expect(first == second, "the same seed gives the same bytes")
