"""The pictures of a report: ticks, labels, curves and histories of weights."""

import re

import numpy as np
import pytest

from qacomp.report.charts import outside, size_name, tradeoff_chart, weights_chart
from qacomp.report.contents import Point, TensorRow
from qacomp.report.svg import linear, short, ticks
from qacomp.training.history import EpochRecord, WeightHistory, plain_state


def test_a_few_far_weights_do_not_squeeze_the_picture() -> None:
    import torch

    weights = torch.randn(100, 100, generator=torch.Generator().manual_seed(0))
    weights[0, 0] = 1000.0
    (taken,) = WeightHistory(["w"], {"w": weights}).finished()["w"]
    assert -5 < taken.low < -3 and 3 < taken.high < 5 and sum(taken.counts) == 10_000
    row = TensorRow("w", (100, 100), "float32", 3, "rans", "", 1, 10_000, 2.0, 1.0, 0.1, "", 3, None,
                    (-1.0, 1.0, 1000.0), (0.5, 0.4999, 0.0001), (taken,))  # fmt: skip
    assert weights_chart(row).count('class="level"') == 2 and outside(row) == 1


def test_the_error_is_relative_and_shadows_have_plain_names() -> None:
    import torch

    layer = torch.nn.Linear(6, 5)
    history = WeightHistory(["weight"], layer.state_dict())
    weight = layer.weight.detach().numpy()
    assert history.error("weight", 1.1 * weight) == pytest.approx(0.1, rel=1e-5)
    assert WeightHistory(["z"], {"z": torch.zeros(3, 3)}).error("z", weight) is None
    torch.nn.utils.parametrizations.weight_norm(layer)
    wrapped = torch.nn.Linear(6, 5)
    torch.nn.utils.parametrize.register_parametrization(wrapped, "weight", torch.nn.Tanh(), unsafe=True)
    assert set(plain_state(wrapped)) == {"weight", "bias"}


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1, 4) == [0, 0.5, 1.0]
    assert [short(v) for v in (0.0, 0.25, 1200.0, 2e-5, 3e9)] == ["0", "0.25", "1,200", "2e-5", "3e9"]
    rng = np.random.default_rng(0)
    for low, width in rng.normal(size=(50, 2)) * 10.0 ** rng.integers(-6, 6, (50, 1)):
        high = low + abs(width)
        found = ticks(low, high)
        slack = 1e-6 * (high - low)
        assert 1 <= len(found) <= 6 and all(low - slack <= v <= high + slack for v in found)
    assert linear(1, 1, 0, 10)(5) == 5
    assert [size_name(v) for v in (12, 1500, 2_500_000)] == ["12 B", "1.5 kB", "2.5 MB"]


def test_labels_of_near_points_do_not_lie_on_each_other() -> None:
    points = [Point("a", 1_000_000, 90.0), Point("b", 1_010_000, 90.0), Point("c", 1_020_000, 90.01)]
    places = re.findall(r'class="name" x="([\d.]+)" y="([\d.]+)"', tradeoff_chart(points))
    assert len({round(float(y) / 8) for _, y in places}) == 3
    assert tradeoff_chart(points[:1]) == ""


def test_a_curve_with_gaps_is_drawn() -> None:
    from qacomp.report.charts import training_chart

    records = [EpochRecord("fine-tune", i, 1.0, 0.0, 50.0) for i in range(4)]
    assert "<svg" in training_chart(records, "loss", [1.0, float("nan"), 0.5, 0.25])
    assert training_chart(records, "loss", [float("nan")] * 4) == ""
