"""Estimates tell a search where to measure: few measurements find a size, and a wrong estimate costs a few more."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qacomp
from qacomp.rate.columns import Columns
from qacomp.rate.matrices import output_major
from qacomp.rate.search import scale_for_size
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import WeightOnGrid
from qacomp.stages import share_by_rate


class Coder:
    """Bytes that fall with the scale, with some noise; the scales that were measured."""

    def __init__(self, weights: int, noise: int = 0) -> None:
        self.weights, self.noise, self.tried = weights, noise, list[float]()

    def bytes_at(self, scale: float) -> int:
        self.tried.append(scale)
        bits = self.weights * math.log2(1 + 9 / scale)
        return 300 + round(bits / 8) + int(scale * 1e6) % (self.noise + 1)

    def estimate(self, scale: float) -> float:
        """Coding saves a fifth, and more of coarse steps; the codebooks aren't in it."""
        return self.weights * math.log2(1 + 9 / scale) / 8 * (1.2 + 0.1 * math.log2(1 + scale))


@given(st.integers(2_000, 300_000), st.floats(0.15, 0.9), st.floats(0.3, 5))
def test_few_measurements_find_a_size(weights: int, share: float, start: float) -> None:
    coder = Coder(weights, noise=3)
    most = int(coder.bytes_at(0.05) * share)
    if most < 1_000:
        return
    coder.tried.clear()
    scale = scale_for_size(coder.bytes_at, most, start=start, estimate=coder.estimate)
    assert 0.995 * most <= coder.bytes_at(scale) <= most
    assert len(coder.tried) - 1 <= 5


@pytest.mark.parametrize("estimate", [lambda s: 1000.0, lambda s: 1000 * s, lambda s: 0.0])
def test_an_estimate_that_says_nothing_costs_a_plain_search(estimate: object) -> None:
    coder = Coder(50_000)
    scale = scale_for_size(coder.bytes_at, 9_000, estimate=estimate)  # type: ignore[arg-type]
    assert 0.995 * 9_000 <= coder.bytes_at(scale) <= 9_000
    assert len(coder.tried) < 26


def test_a_size_out_of_reach_ends() -> None:
    coder = Coder(50_000)
    assert coder.bytes_at(scale_for_size(coder.bytes_at, 200, estimate=coder.estimate)) > 200


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("step", [0.5, 1.0, 2.5])
def test_some_values_tell_the_entropy_of_all(step: float, columns: bool) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(0, 1, (2048, 192)) * np.exp(rng.normal(0, 0.3, 192))).astype(np.float32)
    ratios = np.exp2(rng.integers(-2, 2, (1, 192)).astype(np.float64))
    own = Columns(ratios, np.abs(values).max(0, keepdims=True).astype(np.float64), (2048, 1), np.arange(192))
    view = output_major(values.shape) if columns else None
    weight = WeightOnGrid(values, view, None, own if columns else None)
    assert (weight.columns_at(step) is not None) == columns
    assert weight.estimated_bits(step) == pytest.approx(weight.entropy_bits(step), rel=0.01)


def test_weights_of_a_large_source_are_rounded_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import save_file

    rng = np.random.default_rng(1)
    save_file({n: rng.standard_t(4, (512, 256)).astype(np.float32) for n in "abc"}, tmp_path / "a.safetensors")
    scales: list[float] = []
    at = RateSharing.at

    def counted(sharing: RateSharing, scale: float) -> object:
        scales.append(scale)
        return at(sharing, scale)

    monkeypatch.setattr(share_by_rate, "_QUICK_FROM", 1)
    monkeypatch.setattr(RateSharing, "at", counted)
    done = qacomp.compress(tmp_path / "a.safetensors", output=tmp_path / "a.qac", target_size="130kB", sharing="rate")
    assert 128_700 <= done.container_bytes <= 130_000
    assert len(scales) <= 6
