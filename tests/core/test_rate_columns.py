"""A step for each input of an operator: less output error at equal bits, and grids that a container holds exactly."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qacomp.formats import open_file, save_file
from qacomp.rate.column_choice import with_columns
from qacomp.rate.columns import FARTHEST, columns_of
from qacomp.rate.compensation import compensated, factorized
from qacomp.rate.equal_bits import bits_at, step_of_bits
from qacomp.rate.grid_form import entropy_bits
from qacomp.rate.guard import guarded
from qacomp.rate.matrices import PlacedView, View, input_major, output_major
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import WeightOnGrid

RNG = np.random.default_rng(0)


def uneven(inputs: int) -> Any:
    """The second moment (1, n, n) of inputs of which some are ten times as strong as others."""
    x = RNG.normal(size=(4 * inputs, inputs)) * np.geomspace(1, 10, inputs)
    return (x.T @ x / len(x))[None]


def drawn(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


VIEWS: list[tuple[View, tuple[int, ...], tuple[int, ...]]] = [
    (output_major((40, 24)), (40, 24), (40, 1)),
    (input_major((24, 40)), (24, 40), (1, 40)),
    (output_major((40, 8, 3)), (40, 8, 3), (40, 1, 1)),
    (PlacedView(np.arange(960).reshape(1, 40, 24)[:, ::-1]), (40, 24), (40, 1)),
]


@pytest.mark.parametrize(("view", "shape", "blocks"), VIEWS)
def test_the_grid_of_each_input_is_what_was_rounded(view: View, shape: Any, blocks: Any, tmp_path: Path) -> None:
    factor = factorized(uneven(24))
    w = drawn(*shape)
    weight = WeightOnGrid(w, view, factor, columns_of(w, view, factor.conditional_power))
    columns = weight.columns
    assert columns is not None and columns.blocks == blocks
    step = weight.first_step()
    integers = weight.integers(step)
    made = columns.grid_tensor(integers, step)
    assert np.array_equal(made.dense(), weight.changed(step)) and made.dense().dtype == np.float32
    steps = columns.steps(step)
    plain = compensated(view.matrices(w), factor, steps, FARTHEST)
    assert np.array_equal(view.matrices(made.dense()), (plain * steps[:, None]).astype(np.float32))
    save_file(tmp_path / "w.qac", {"w": made})
    with open_file(tmp_path / "w.qac") as container:
        assert container.tensor("w").tobytes() == made.dense().tobytes()


def test_less_error_at_equal_bits_and_bytes_of_steps_counted() -> None:
    """With the bits of each input counted apart, the error falls by the mean of the power over its geometric mean."""
    moment = uneven(24)
    factor = factorized(moment)
    one = WeightOnGrid(drawn(400, 24), output_major((400, 24)), factor)
    each = with_columns(one)
    assert each.columns is not None
    spent = {}
    for weight in (one, each):
        step = weight.first_step() / 2
        integers = weight.integers(step)
        error = weight.output_error(weight.values_of(integers, step))
        spent[weight is each] = sum(map(entropy_bits, integers.T)) / 9600 + 0.5 * np.log2(error)
    power = factor.conditional_power
    gain = 0.5 * np.log2(power.mean() / np.exp(np.log(power).mean()))
    assert spent[False] - spent[True] == pytest.approx(gain, abs=0.15)
    few = WeightOnGrid(drawn(2, 24), output_major((2, 24)), factor)
    assert with_columns(few).columns is None  # two weights of an input don't pay for its step
    alike = WeightOnGrid(drawn(400, 24), output_major((400, 24)), factorized(np.eye(24)[None]))
    assert with_columns(alike).columns is None


def test_the_output_error_is_that_of_the_damped_moment() -> None:
    factor = factorized(uneven(12))
    errors = RNG.normal(size=(1, 5, 12))
    moment = np.linalg.inv(factor.inputs.natural()[0].T @ factor.inputs.natural()[0])
    assert factor.output_error(errors) == pytest.approx(float(np.trace(errors[0] @ moment @ errors[0].T)), rel=1e-6)


def test_a_far_value_gets_room_and_groups_get_no_columns() -> None:
    w = drawn(40, 24)
    w[3, 5] = 50
    factor = factorized(uneven(24))
    weight = WeightOnGrid(w, output_major((40, 24)), factor, columns_of(w, output_major((40, 24)), np.ones((1, 24))))
    assert weight.columns is not None
    assert np.abs(weight.integers(0.1)).max() <= FARTHEST
    assert weight.changed(0.1)[3, 5] == pytest.approx(50, rel=0.02)
    assert weight.columns_at(1e-3) is None  # too many levels for most inputs: one step, and a codebook of any size
    assert np.abs(weight.changed(1e-3) - w).max() < 0.01
    assert columns_of(w, output_major((40, 24), groups=4), np.ones((4, 24))) is None
    assert columns_of(w.astype(np.float16), output_major((40, 24)), np.ones((1, 24))) is None


def with_own_steps() -> WeightOnGrid:
    factor, w = factorized(uneven(24)), drawn(400, 24)
    view = output_major(w.shape)
    return WeightOnGrid(w, view, factor, columns_of(w, view, factor.conditional_power))


@pytest.mark.parametrize("times", [0.25, 1.0, 3.0])
def test_a_step_is_found_for_given_bits(times: float) -> None:
    weight = with_own_steps()
    one = replace(weight, columns=None)
    for start in (weight.first_step(), 8 * weight.first_step()):
        bits = bits_at(weight, times * weight.first_step())
        assert bits_at(one, step_of_bits(one, bits, start)) == pytest.approx(bits, rel=0.02)
    assert bits_at(weight, 0.1) == entropy_bits(weight.integers(0.1)) + 12 * 24


@pytest.mark.parametrize("kept", ["columns", "factor", "nothing"])
def test_ways_of_rounding_are_compared_at_equal_bytes(kept: str) -> None:
    """Outputs that like one way best get it, at a step that takes the bits that the weight took before."""
    weight = with_own_steps()
    step = weight.first_step()
    ways = {
        "columns": weight,
        "factor": replace(weight, columns=None),
        "nothing": replace(weight, columns=None, factor=None),
    }
    steps = {name: step_of_bits(way, bits_at(weight, step), step) for name, way in ways.items()}
    liked = ways[kept].changed(steps[kept])
    sharing = RateSharing({"w": weight}, {"w": step}, {"w": np.dtype(np.float32)}, "exact", {})
    found, plain = guarded(sharing, lambda values: float(((values["w"] - liked) ** 2).sum()), lambda: None)
    assert found.steps["w"] == pytest.approx(steps[kept]) and plain == (["w"] if kept == "nothing" else [])
    assert (found.weights["w"].columns is None) == (kept != "columns")
    assert bits_at(found.weights["w"], found.steps["w"]) == pytest.approx(bits_at(weight, step), rel=0.01)
