"""A target size between the sizes of two scales is filled by finer steps for single tensors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import qacomp
from qacomp.rate.record import Sensitivity
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import WeightOnGrid
from qacomp.stages.fill_size import finer_steps
from qacomp.stages.scaled import Scaled


@dataclass(frozen=True)
class Steps:
    """Three tensors of so many weights; each takes three bits less the logarithm of its step."""

    sizes: Mapping[str, int]
    factors: Mapping[str, float] = field(default_factory=dict)

    def bytes_at(self, scale: float) -> int:
        step = {name: scale * self.factors.get(name, 1.0) for name in self.sizes}
        return round(sum(n * (3 - math.log2(step[name])) / 8 for name, n in self.sizes.items()))

    def scaled(self) -> Scaled:
        unused: Any = None
        return Scaled(
            unused, unused, self.bytes_at, unused, unused, lambda f: Steps(self.sizes, f).scaled(), list(self.sizes)
        )


@pytest.mark.parametrize("gap", [0.002, 0.01, 0.04])
def test_bytes_that_are_left_are_filled_from_below(gap: float) -> None:
    steps = Steps({"a": 8000, "b": 3000, "c": 400, "d": 50})
    size = steps.bytes_at(1.0)
    left = int(size * (1 + gap))
    factors = finer_steps(steps.scaled(), 1.0, left, list(steps.sizes))
    assert 0.995 * left <= steps.scaled().finer(factors).shared_bytes(1.0) <= left
    assert factors == finer_steps(steps.scaled(), 1.0, left, "abcd")
    assert steps.scaled().finer(finer_steps(steps.scaled(), 1.0, size, "abcd")).shared_bytes(1.0) == size


def test_tensors_whose_error_costs_most_come_first() -> None:
    weights = {name: WeightOnGrid(np.ones(n)) for name, n in (("few", 2), ("many", 9), ("low", 3), ("high", 3))}
    told = {"low": Sensitivity(0.01, 0.1, 100.0), "high": Sensitivity(0.09, 0.1, 100.0)}
    sharing = RateSharing(weights, dict.fromkeys(weights, 1.0), {}, "exact", {}, told)
    assert sharing.by_cost == ["high", "low", "many", "few"]
    assert sharing.finer({"low": 0.5}).steps == {"few": 1.0, "many": 1.0, "low": 0.5, "high": 1.0}


def test_sizes_that_no_scale_meets_are_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of two bits make sizes jump by many per cent; each tensor jumps elsewhere."""
    monkeypatch.setattr("qacomp.rate.grid_form._STEP_BITS", 2)
    rng = np.random.default_rng(0)
    state = {f"w{i}.weight": rng.normal(size=(n, n)).astype(np.float32) for i, n in enumerate((24, 20, 12, 16))}
    monkeypatch.setattr("qacomp.stages.scale_search._FILLS", 0)
    before = qacomp.compress(state, target_size="800", min_size=1)
    monkeypatch.setattr("qacomp.stages.scale_search._FILLS", 3)
    made, again = (qacomp.compress(state, target_size="800", min_size=1) for _ in range(2))
    assert before.missed and before.container_bytes < 0.99 * 800
    assert not made.missed and 0.99 * 800 <= made.container_bytes <= 800
    assert made.output.read_bytes() == again.output.read_bytes()
    search, plain = made.rate_search, before.rate_search
    assert search is not None and plain is not None and search.of_file is not None and plain.of_file is not None
    more = (search.of_file.weight_bytes or 0) - (plain.of_file.weight_bytes or 0)
    assert more > 0 and abs(more - (made.container_bytes - before.container_bytes)) <= 3, "the rest is alike"
    assert search.filled and set(search.filled) < set(state) and not plain.filled
