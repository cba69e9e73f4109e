"""What the pictures show: counts as numpy counts them, lines at the shared values, the same bytes every time."""

import math
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qacomp.errors import ConfigError, NonFiniteWeightsError
from qacomp.formats import SharedTensor, bfloat16_from_float32, save_file

matplotlib = pytest.importorskip("matplotlib")

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.collections import LineCollection  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import StepPatch  # noqa: E402

from qacomp.plots import (  # noqa: E402
    Column,
    LayerWeights,
    PictureFormatError,
    PictureSizeError,
    draw_penalties,
    draw_weights,
    layer_weights,
    picture_format,
    render,
)
from qacomp.plots.curves import penalty_curve  # noqa: E402
from qacomp.plots.histogram import bin_counts, common_range, shared_weights  # noqa: E402
from qacomp.plots.reading import layer_pattern, read_layers  # noqa: E402

BOOK = np.array([0.5, -0.25, 0.0, -0.75], np.float32)


def indices(shape: tuple[int, ...] = (20, 30)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, len(BOOK), shape).astype(np.uint8)


def bell(shape: tuple[int, ...] = (20, 30)) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.3, shape).astype(np.float32)


def lines(axes: Axes, gid: str) -> np.ndarray:
    """The vertical lines drawn as `gid`: (n, 3) of x, foot, top."""
    found = [c for c in axes.collections if isinstance(c, LineCollection) and c.get_gid() == gid]
    assert len(found) == 1
    return np.array([[s[0][0], s[0][1], s[1][1]] for s in map(np.asarray, found[0].get_segments())])


def words(figure: Figure) -> str:
    return " ".join(t.get_text() for axes in figure.axes for t in axes.texts) + " ".join(
        t.get_text() for t in figure.texts
    )


def before_and_after() -> tuple[Column, Column]:
    after = shared_weights("fc.weight", (20, 30), BOOK, indices())
    return Column("model.pt", {"fc.weight": layer_weights("fc.weight", bell())}), Column(
        "model.qac", {after.name: after}
    )


def test_a_shared_layer_has_a_bar_a_value_as_high_as_its_count() -> None:
    column = before_and_after()[1]
    figure = draw_weights([column], ["fc.weight"])
    bars = lines(figure.axes[0], "counts")
    np.testing.assert_array_equal(bars[:, 0], np.sort(BOOK).astype(np.float64))
    expected = [np.count_nonzero(BOOK[indices()] == u) for u in np.sort(BOOK)]
    np.testing.assert_array_equal(bars[:, 2], expected)
    np.testing.assert_array_equal(lines(figure.axes[0], "levels")[:, 0], np.sort(BOOK))
    assert "fc.weight" in words(figure) and "20×30, K = 4" in words(figure) and "model.qac" in words(figure)


def test_a_dense_layer_is_binned_as_numpy_bins_it_over_the_range_of_all_columns() -> None:
    before, after = before_and_after()
    figure = draw_weights([before, after], ["fc.weight"], bins=37)
    low, high = float(min(bell().min(), BOOK.min())), float(max(bell().max(), BOOK.max()))
    counts, edges = np.histogram(bell().astype(np.float64), 37, (low, high))
    steps = [p for p in figure.axes[0].patches if isinstance(p, StepPatch)]
    drawn: Any = steps[0].get_data()  # a named tuple; the stubs know only a tuple
    np.testing.assert_array_equal(drawn.values, counts)
    np.testing.assert_allclose(drawn.edges, edges, rtol=1e-12)
    assert counts.sum() == 600
    np.testing.assert_array_equal(lines(figure.axes[0], "levels")[:, 0], np.sort(BOOK))  # those of the later column
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_a_logarithmic_axis_shows_a_count_of_one() -> None:
    rare = shared_weights("w", (50,), BOOK[:2], np.array([0] * 49 + [1], np.uint8))
    axes = draw_weights([Column("m.qac", {"w": rare})], ["w"], log=True).axes[0]
    assert axes.get_yscale() == "log"
    assert 0 < axes.get_ylim()[0] < 1 < 49 < axes.get_ylim()[1]
    np.testing.assert_array_equal(lines(axes, "counts")[:, 2], [1, 49])


def test_many_levels_are_ticks_at_the_foot() -> None:
    book = np.linspace(-1, 1, 64, dtype=np.float32)
    layer = shared_weights("w", (640,), book, np.repeat(np.arange(64, dtype=np.uint8), 10))
    figure = draw_weights([Column("m.qac", {"w": layer})], ["w"])
    assert len(lines(figure.axes[0], "levels")) == 64
    assert lines(figure.axes[0], "levels")[:, 2].max() < 0.1
    assert "ticks at the bottom" in words(figure)


def test_a_layer_that_a_file_lacks_is_said_to_be_missing() -> None:
    before, after = before_and_after()
    figure = draw_weights([before, Column("other.qac", {})], ["fc.weight"])
    assert "not in other.qac" in words(figure)
    with pytest.raises(PictureSizeError, match="9 files"):
        draw_weights([after] * 9, ["fc.weight"])


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_picture_has_the_same_bytes_whatever_the_users_settings(kind: str) -> None:
    first = render(draw_weights(before_and_after(), ["fc.weight"]), kind)
    with matplotlib.rc_context({"font.size": 30.0, "svg.hashsalt": None, "lines.linewidth": 9.0}):
        second = render(draw_weights(before_and_after(), ["fc.weight"]), kind)
        assert matplotlib.rcParams["font.size"] == 30.0
    assert first == second
    assert b"matplotlib.org" not in first and matplotlib.__version__.encode() not in first
    if kind == "svg":
        ET.fromstring(first)
        assert b"fc.weight" in first and b"<dc:date>" not in first
    else:
        assert first.startswith(b"\x89PNG")


def test_names_from_a_file_are_text_and_nothing_else() -> None:
    name = "a$\\frac{$_<b>\x00\n" + "x" * 300
    layer = layer_weights(name, bell())
    figure = draw_weights([Column("$x^{2.pt", {name: layer})], [name])
    svg = render(figure, "svg")
    ET.fromstring(svg)
    assert b"a$\\frac{$_&lt;b&gt;??" in svg
    assert max(len(t.get_text()) for t in figure.axes[0].texts) <= 48


@pytest.mark.parametrize("value", [0.0, 0.125, -3e38, 1e-300])
def test_equal_weights_have_a_range(value: float) -> None:
    layer = LayerWeights("w", (3,), np.full(3, value))
    low, high = common_range([layer])
    assert low < value < high
    assert bin_counts(layer, 10, (low, high))[0].sum() == 3
    render(draw_weights([Column("m.pt", {"w": layer})], ["w"]), "png")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers(value: float) -> None:
    with pytest.raises(NonFiniteWeightsError, match="fc1"):
        layer_weights("fc1", np.array([1.0, value]))
    with pytest.raises(NonFiniteWeightsError, match="fc2"):
        shared_weights("fc2", (2,), np.array([1.0, value]), np.zeros(2, np.uint8))
    with pytest.raises(NonFiniteWeightsError, match="fc3"):
        common_range([LayerWeights("fc3", (2,), np.array([-1.7e308, 1.7e308]))])


def test_few_distinct_weights_count_as_shared() -> None:
    dense = BOOK[indices()]
    layer = layer_weights("w", dense)
    assert layer.levels is not None and layer.counts is not None and layer.values is None
    np.testing.assert_array_equal(layer.levels, np.unique(dense))
    np.testing.assert_array_equal(layer.counts, np.unique(dense, return_counts=True)[1])
    assert layer_weights("w", bell((3, 3))).levels is None  # nine distinct weights share nothing


def test_equal_shared_values_are_one_level() -> None:
    layer = shared_weights("w", (4,), np.array([0.5, -1.0, 0.5, 2.0]), np.array([0, 2, 2, 1], np.uint8))
    assert layer.levels is not None and layer.counts is not None
    assert layer.levels.tolist() == [-1.0, 0.5, 2.0]
    assert layer.counts.tolist() == [1, 3, 0]


def test_a_container_gives_its_layers(tmp_path: Path) -> None:
    tensors: dict[str, Any] = {
        "a.weight": SharedTensor(BOOK, indices()),
        "b.weight": bell(),
        "c.weight": bfloat16_from_float32(bell((4, 5))),
        "b.bias": bell((30,)),
        "steps": np.arange(12).reshape(3, 4),
        "empty": np.zeros((0, 3), np.float32),
    }
    save_file(tmp_path / "model.qac", tensors)
    (tmp_path / "model.bin").write_bytes((tmp_path / "model.qac").read_bytes())
    layers = read_layers(tmp_path / "model.qac", layer_pattern([]))
    assert list(layers) == list(read_layers(tmp_path / "model.bin", layer_pattern([])))
    assert sorted(layers) == ["a.weight", "b.weight", "c.weight"]
    assert layers["a.weight"].levels is not None and layers["a.weight"].levels.tolist() == sorted(BOOK.tolist())
    assert layers["a.weight"].shape == (20, 30)
    np.testing.assert_array_equal(layers["b.weight"].values, bell().reshape(-1))
    assert list(read_layers(tmp_path / "model.qac", layer_pattern(["a", "c.*"]))) == ["a.weight", "c.weight"]


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("sin", lambda w, u: abs(np.sin(np.pi * 7 * (w + 1) / 2))),
        ("cos", lambda w, u: abs(np.cos(np.pi * 8 * (w + 1) / 2))),
        ("min", lambda w, u: ((w[:, None] - u) ** 2).min(1)),
        ("exp", lambda w, u: 1 - np.exp(-abs(w[:, None] - u).min(1))),
        ("sinreq", lambda w, u: np.sin(np.pi * 7 * (np.tanh(w) / np.tanh(1) + 1) / 2) ** 2),
    ],
)
def test_a_penalty_is_drawn_as_its_formula_says(name: str, formula: object) -> None:
    assert callable(formula)
    curve = penalty_curve(name, 8, -1.0, 1.0)
    assert len(curve.levels) == 8
    np.testing.assert_allclose(curve.penalty, formula(curve.weights, curve.levels), atol=2e-6)
    figure = draw_penalties([curve])
    np.testing.assert_array_equal(lines(figure.axes[0], "levels")[:, 0], curve.levels)
    drawn = figure.axes[0].lines[0]
    np.testing.assert_array_equal(drawn.get_xdata(), curve.weights)
    np.testing.assert_array_equal(drawn.get_ydata(), curve.penalty)


def test_learned_levels_can_be_given_and_static_ones_cannot() -> None:
    given = (-0.9, -0.5, -0.45, 0.3)
    for name in ("min", "exp"):
        curve = penalty_curve(name, 8, -1.0, 1.0, levels=given)
        assert curve.levels.tolist() == sorted(given)
        assert np.interp(given, curve.weights, curve.penalty).max() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ConfigError, match="levels of sin follow"):
        penalty_curve("sin", 8, -1.0, 1.0, levels=given)
    with pytest.raises(ConfigError, match="between --low and --high"):
        penalty_curve("exp", 8, 0.0, 1.0, levels=given)


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, -1.0), (0.0, 0.0), (math.nan, 1.0), (0.0, math.inf), (1.0, 1.0 + 1e-9)]
)
def test_an_interval_that_is_none(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match="--low"):
        penalty_curve("exp", 8, low, high)


def test_learned_levels_gather_where_a_bells_weights_are() -> None:
    gaps = [b - a for a, b in pairwise(penalty_curve("exp", 8, -1.0, 1.0).levels)]
    assert gaps[3] < gaps[2] < gaps[1] < gaps[0]
    even = penalty_curve("exp:init=uniform", 8, -1.0, 1.0).levels
    np.testing.assert_allclose(even, np.linspace(-1, 1, 8), atol=1e-6)


def test_levels_outside_the_interval_are_counted_in_the_panel() -> None:
    curve = penalty_curve("sinreq", 8, -0.5, 1.0)
    figure = draw_penalties([curve])
    assert len(lines(figure.axes[0], "levels")) == np.count_nonzero(curve.levels >= -0.5) < 8
    assert "outside the interval" in words(figure)


def test_the_suffix_is_the_format() -> None:
    assert picture_format(Path("a.PNG")) == "png" and picture_format(Path("b.svg")) == "svg"
    for name in ("a.jpg", "a", "a.pdf"):
        with pytest.raises(PictureFormatError, match=name):
            picture_format(Path(name))
