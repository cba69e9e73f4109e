"""--base: steps, codebooks and indices stay near an earlier version's where that costs little, so deltas are small."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import qacomp
from qacomp.errors import ConfigError
from qacomp.formats import SharedTensor, open_file, save_file
from qacomp.rate.compensation import factorized, rounded
from qacomp.rate.grid_form import grid_tensor, grid_values, step_of
from qacomp.rate.matrices import MatrixView
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import WeightOnGrid
from qacomp.sharing.base import HELD, BaseTensor, open_base
from qacomp.sharing.kmeans import kmeans
from qacomp.sharing.near_base import near_base
from qacomp.sharing.selection import Layer, Selection

RNG = np.random.default_rng(0)
OLD = (RNG.normal(size=(100, 120)) * (RNG.random((100, 120)) < 0.9)).astype(np.float32)
NEW = (OLD + 0.08 * RNG.normal(size=OLD.shape) * (OLD != 0)).astype(np.float32)


def layer(path: Path, tensor: SharedTensor, k: int) -> Layer:
    save_file(path / "base.qac", {"w": tensor})
    return Layer("w", "dense", OLD.shape, k, base=open_base(path / "base.qac").tensor("w"))


def test_clusters_stay_near(tmp_path: Path) -> None:
    first = kmeans(OLD, 16)
    alone, near = kmeans(NEW, 16), near_base(NEW, layer(tmp_path, SharedTensor(first.codebook, first.indices), 16))
    assert near is not None
    moved, moved_alone = ((c.indices != first.indices).mean() for c in (near, alone))
    assert moved < 0.6 * moved_alone and near.inertia < 1.5 * alone.inertia
    assert (NEW[near.codebook[near.indices] == 0] == 0).sum() == (NEW == 0).sum()  # zeros stay zeros
    assert near.inertia == pytest.approx(((NEW - near.codebook[near.indices]).astype(np.float64) ** 2).sum())


def test_another_form_is_no_base(tmp_path: Path) -> None:
    first = kmeans(OLD, 16)
    own = layer(tmp_path, SharedTensor(first.codebook, first.indices), 16)
    assert near_base(NEW, replace(own, k=8)) is None and near_base(NEW[:10], own) is None
    assert near_base(NEW, replace(own, base=None)) is None


def test_integers_stay_near() -> None:
    step = 0.25
    before = rounded(OLD, step)
    near = rounded(NEW, step, before.astype(np.float64))
    assert (near != before).mean() < 0.6 * (rounded(NEW, step) != before).mean()
    assert np.abs(NEW / step - near).max() < 0.5 + HELD + 1e-6
    weight = WeightOnGrid(NEW, MatrixView(OLD.shape, (0, 1), 1, OLD.shape[0]), factorized((np.eye(120) + 0.5)[None]))
    plain, kept = weight.integers(step), replace(weight, near=(before * step).astype(np.float64)).integers(step)
    assert (kept != before).mean() < 0.6 * (plain != before).mean()
    errors = [weight.output_error(integers * step) for integers in (plain, kept)]
    assert errors[1] < 1.6 * errors[0]


def test_the_step_of_a_grid() -> None:
    grid = np.array([-0.75, -0.25, 0, 0.25, 0.5, 2.0], np.float32)
    places = np.zeros(6, np.uint8)
    assert step_of(SharedTensor(grid, places)) == 0.25
    tuned = grid * np.array([1, 1.1, 1, 0.9, 1.05, 1], np.float32)
    found = step_of(SharedTensor(tuned[1:5] + np.float32(1e-3), places))  # the zero has moved too
    assert found == pytest.approx(0.25, rel=0.1)
    assert step_of(SharedTensor(np.array([-3.07, -1.03, 0, 0.11, 2.01], np.float32), places)) is None
    assert step_of(SharedTensor(np.array([1, 2.1], np.float32), places)) is None and step_of(None) is None


def test_the_steps_of_a_base(tmp_path: Path) -> None:
    """Those on grids are taken, others are scaled with them; only with most of them scale 1 has the base's steps."""
    small, types = NEW[:4], dict.fromkeys("wv", np.dtype(np.float32))
    weights = {"w": WeightOnGrid(NEW), "v": WeightOnGrid(small)}
    alone = RateSharing(weights, {"w": 0.2, "v": 0.1}, types, "exact", {})
    chosen = Selection((Layer("w", "dense", NEW.shape, 16), Layer("v", "dense", small.shape, 16)))
    assert alone.near(chosen) is alone
    for name, steps in (("w", {"w": 0.25, "v": 0.125}), ("v", {"w": 0.5, "v": 0.25})):
        integers = rounded(weights[name].values, 0.25)
        save_file(tmp_path / "a.qac", {name: grid_tensor(integers, grid_values(integers, 0.25, np.dtype(np.float32)))})
        near = alone.near(chosen.near(open_base(tmp_path / "a.qac")))
        assert near.steps == pytest.approx(steps) and near.based == (name == "w")
        assert near.digest != alone.digest and [n for n, w in near.weights.items() if w.near is not None] == [name]


@pytest.mark.parametrize("settings", [{"k": 16}, {"target_size": "5500"}], ids=["k", "rate"])
def test_a_delta_to_the_base_is_small(settings: dict[str, Any], tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("old.qac", "near.qac", "far.qac")]
    qacomp.compress({"w": OLD}, output=files[0], **settings)
    qacomp.compress({"w": NEW}, output=files[1], base=files[0], **settings)
    qacomp.compress({"w": NEW}, output=files[2], **settings)
    near, far = (qacomp.delta(files[0], file, tmp_path / f"{file.stem}.qacd") for file in files[1:])
    assert near.bytes < 0.75 * far.bytes
    qacomp.apply(files[0], near.output, tmp_path / "again.qac")
    assert (tmp_path / "again.qac").read_bytes() == files[1].read_bytes()
    with open_file(files[1]) as container:
        assert container.meta["base"] == open_base(files[0]).to_meta()["base"]
        error = np.abs(container.tensor("w") - NEW).mean()
    with open_file(files[2]) as container:
        assert error < 1.3 * np.abs(container.tensor("w") - NEW).mean()


def inference(first: NDArray[Any], second: NDArray[Any]) -> onnx.ModelProto:
    """A network of two MatMuls."""
    weights = {"one": first, "two": second}
    nodes = [helper.make_node("MatMul", ["x", "one"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
             helper.make_node("MatMul", ["r", "two"], ["y"])]  # fmt: skip
    given, told = (
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", k]) for n, k in (("x", 100), ("y", 100))
    )
    graph = helper.make_graph(nodes, "g", [given], [told], [numpy_helper.from_array(w, n) for n, w in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("form", ["tensors", "onnx"])
def test_weights_stay_on_the_trellis_of_a_base(form: str, tmp_path: Path) -> None:
    """Also where the later version doesn't ask for a trellis: steps and most indices are the base's."""
    moved = OLD + 0.03 * RNG.normal(size=OLD.shape) * (OLD != 0)
    sources: list[Any] = []
    for number, values in enumerate((OLD, moved.astype(np.float32))):
        if form == "tensors":
            sources.append({"w": values})
        else:
            onnx.save(inference(values / 8, OLD.T / 8), tmp_path / f"{number}.onnx")
            sources.append(tmp_path / f"{number}.onnx")
    name, size = ("w", 4500) if form == "tensors" else ("one", 8500)
    files = [tmp_path / name for name in ("old.qac", "near.qac", "far.qac")]
    on = "rate:trellis=true"
    qacomp.compress(sources[0], output=files[0], sharing=on, target_size=str(size))
    done = qacomp.compress(sources[1], output=files[1], base=files[0], target_size=str(size + size // 20))
    qacomp.compress(sources[1], output=files[2], sharing=on, target_size=str(size))
    near, far = (qacomp.delta(files[0], file, tmp_path / f"{file.stem}.qacd") for file in files[1:])
    assert any("are on a trellis there, and are rounded on it again" in note for note in done.notes)
    assert near.bytes < far.bytes
    multiples = []
    for file in files:
        with open_file(file) as container:
            assert container.info(name).codec == "trellis"
            step = step_of(BaseTensor(file, name).shared(OLD.shape))
            assert step is not None
            multiples.append(np.rint(container.tensor(name).astype(np.float64) / step))
    stays, moves = ((other != multiples[0]).mean() for other in multiples[1:])
    assert stays < 0.05 and 3 * stays < moves


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"levels": (4, 16)}, "progressive"),
        ({"codebook": "channel", "k": 4}, "in blocks"),
        ({"target_size": "6KB,9KB"}, "progressive"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], why: str, tmp_path: Path) -> None:
    save_file(tmp_path / "old.qac", {"w": OLD})
    with pytest.raises(ConfigError, match=rf"--base: has no effect .*{why}"):
        qacomp.compress({"w": NEW}, output=tmp_path / "new.qac", base=tmp_path / "old.qac", **settings)


def test_a_base_of_another_model_is_refused(tmp_path: Path) -> None:
    save_file(tmp_path / "old.qac", {"other": OLD})
    with pytest.raises(ConfigError, match="has none of the tensors"):
        qacomp.compress({"w": NEW}, output=tmp_path / "new.qac", base=tmp_path / "old.qac", k=4)
