"""Rounding on a trellis: fewer bytes at an equal error, paths that the codec follows, and files that readers read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file as save_numpy
from torch import nn

import qacomp
from qacomp.errors import ConfigError
from qacomp.formats import BFLOAT16, SharedTensor, bfloat16_from_float32, bfloat16_to_float32, open_file, save_file
from qacomp.formats.codecs.trellispaths import follows
from qacomp.options.config import CompressConfig
from qacomp.options.method import MethodChoice
from qacomp.rate import trellis
from qacomp.rate.compensation import Factor, Side, factorized
from qacomp.rate.grid_form import entropy_bits
from qacomp.rate.matrices import View, input_major, output_major
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import WeightOnGrid
from qacomp.rate.trellis import HELD, ScaledRows, on_trellis
from qacomp.rate.trellis_form import suits, trellis_tensor
from qacomp.stages import rounding_choice, source_rounding
from qacomp.stages.source_rounding import rounded_by_choice

AFTER = (0, 5, 1, 6, 2, 4, 3, 7)


def drawn(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def moment(size: int) -> NDArray[np.float64]:
    """The second moment of inputs of which each is like the one before."""
    inputs = np.cumsum(drawn(4 * size, size, seed=1), axis=1).astype(np.float64)
    return (inputs.T @ inputs / len(inputs))[None]


def check_paths(found: NDArray[np.int64]) -> None:
    """Each row is a path from state 0."""
    for row in found.tolist():
        state = 0
        for multiple in row:
            odd = state & 1
            symbol = (multiple + (odd if multiple > 0 else -odd if multiple < 0 else 0)) / 2
            assert symbol == int(symbol)
            state = AFTER[state] ^ 2 * (int(symbol) & 1)


def test_rows_are_paths_and_zeros_stay_zero() -> None:
    weights = 3 * drawn(20, 150).astype(np.float64)
    weights[:, ::7] = 0
    found = on_trellis(ScaledRows(weights, None, None, 60))
    check_paths(found)
    assert not found[:, ::7].any() and np.abs(found - weights).max() < 4
    assert np.array_equal(found, on_trellis(ScaledRows(weights, None, None, 60)))


@pytest.mark.parametrize("most", [4, 5])
def test_multiples_as_large_as_a_grid_has_are_paths_too(most: int) -> None:
    found = on_trellis(ScaledRows(2 * most * drawn(20, 150).astype(np.float64).clip(-1, 1), None, None, most))
    check_paths(found)
    assert np.abs(found).max() == 2 * most


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1 << 16), st.floats(0, 0.5), st.booleans(), st.integers(16, 150))
def test_paths_stay_near_those_of_a_base(seed: int, moved: float, compensated: bool, length: int) -> None:
    """The base's own values keep its path; others are paths too, with little more error, and most places stay."""
    rng = np.random.default_rng(seed)
    weights = 3 * rng.standard_normal((12, length)) * (rng.random((12, length)) < 0.9)
    upper = np.triu(rng.normal(size=(length, length)) / length, 1) + np.eye(length) if compensated else None
    rows = ScaledRows(weights, upper, np.ones(length) if compensated else None, 60)
    before = on_trellis(rows)
    kept = replace(rows, before=before.astype(np.float64))
    assert np.array_equal(on_trellis(replace(kept, weights=before.astype(np.float64))), before)
    later = replace(kept, weights=weights + moved * rng.standard_normal(weights.shape) * (weights != 0))
    found, alone = on_trellis(later), on_trellis(replace(later, before=None))
    check_paths(found)
    assert not found[later.weights == 0].any()
    assert (found != before).sum() <= (alone != before).sum()
    errors = [np.square(part - later.weights).mean() for part in (found, alone)]
    assert compensated or errors[0] <= errors[1] + HELD


@pytest.mark.parametrize(("shape", "view"), [((40, 96), output_major((40, 96))), ((96, 40), input_major((96, 40)))])
def test_it_takes_fewer_bytes_at_an_equal_error(shape: tuple[int, int], view: View, tmp_path: Path) -> None:
    values = drawn(*shape)
    natural = Side(factorized(moment(96)).inputs.natural(), np.arange(96)[None])  # as on the trellis
    weight = WeightOnGrid(values, view, Factor(natural))
    assert suits(weight)
    size, error = {}, {}
    integers = weight.integers(0.5)
    low, high = int(integers.min()), int(integers.max())
    book = (np.arange(low, high + 1) / 2).astype(np.float32)
    grid, path = SharedTensor(book, (integers - low).astype(np.uint8)), trellis_tensor(weight, 0.5)
    assert path is not None
    for kind, tensor in (("grid", grid), ("path", path)):
        size[kind] = save_file(tmp_path / "a.qac", {"w": tensor}).tensors[0].bytes
        error[kind] = weight.output_error(tensor.dense().astype(np.float64))
    bits = np.log2(error["path"] / error["grid"]) / 2  # what an equal error would take, for each weight
    assert size["path"] + bits * values.size / 8 < 0.96 * size["grid"]


@pytest.mark.parametrize(("shape", "view"), [((70, 96), output_major((70, 96))), ((96, 70), input_major((96, 70)))])
def test_errors_compensate_each_other_along_outputs(shape: tuple[int, int], view: View) -> None:
    values = drawn(*shape)
    values[::9, ::5] = 0
    h, g = moment(96), moment(70)[:, ::-1, ::-1]  # those with most power come last
    both = WeightOnGrid(values, view, factorized(h, g))
    found, size = {}, {}
    for kind, weight in (("both", both), ("one", replace(both, factor=factorized(h)))):
        tensor = trellis_tensor(weight, 0.5)
        assert tensor is not None
        dense = tensor.dense()
        assert not dense[values == 0].any() and dense.any()
        off = view.matrices(dense.astype(np.float64) - values)[0]
        found[kind] = float(np.trace(g[0] @ off @ h[0] @ off.T))
        size[kind] = entropy_bits(tensor.indices)
        step = float(np.diff(np.unique(tensor.codebook)).min())
        check_paths(view.matrices(np.rint(dense / step).astype(np.int64))[0])
    assert found["both"] < 0.6 * found["one"] and size["both"] < 1.03 * size["one"]


def test_each_band_of_rows_corrects_those_after_it() -> None:
    """The rows after a band are set to what is best for its errors, whatever rounds the rows."""
    weights, g = 3 * drawn(9, 40).astype(np.float64), moment(9)[0] + np.eye(9)
    upper = np.linalg.cholesky(np.linalg.inv(g)).T
    left, wanted = weights.copy(), np.empty(weights.shape, np.int64)
    prices = ScaledRows(weights, None, None, 60)
    for start in range(0, 9, 4):  # the narrowest bands
        rest, band = slice(start + 4, None), slice(start, start + 4)
        wanted[band] = rounded_band(prices, band, left[band])
        moved = np.linalg.solve(g[rest, rest], g[rest, band]) @ (left[band] - wanted[band])
        left[rest] += moved  # where the rest is best, for these errors
    assert np.array_equal(on_trellis(prices, upper), wanted)


def rounded_band(rows: ScaledRows, band: slice, left: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows rounded without others, at the prices of all."""
    return trellis._rounded(rows, band, left, trellis._PRICE * trellis._bits(rows))


def test_what_the_codec_cannot_follow_stays_on_a_uniform_grid() -> None:
    assert not suits(WeightOnGrid(drawn(40)))
    assert not suits(WeightOnGrid(drawn(40, 9)))  # rows too short
    assert not suits(WeightOnGrid(drawn(40, 30).astype(np.float64)))
    assert not suits(WeightOnGrid(drawn(6, 40, 3), input_major((6, 40, 3))))  # rows that lie apart
    weight = WeightOnGrid(drawn(40, 30))
    assert suits(weight) and trellis_tensor(weight, 1e-3) is None  # more values than a grid's codebook has
    tiny = WeightOnGrid((drawn(40, 30) * 2**-23).astype(np.float16))
    assert suits(tiny) and trellis_tensor(tiny, 2**-25) is None  # steps that float16 doesn't tell apart


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BFLOAT16], ids=str)
def test_values_of_half_precision_are_those_of_the_file(dtype: np.dtype[Any], tmp_path: Path) -> None:
    values = drawn(40, 96)
    wide = bfloat16_to_float32(bfloat16_from_float32(values)) if dtype == BFLOAT16 else values.astype(np.float16)
    weights = {"w": WeightOnGrid(wide)}
    sharing = RateSharing(weights, {"w": 0.3}, {"w": dtype}, "half", {}).on_trellis()
    item = sharing.at(1.0)["w"]
    assert isinstance(item.value, SharedTensor) and item.value.codebook.dtype == dtype and follows(item.value.indices)
    save_file(tmp_path / "a.qac", {"w": item.value})
    with open_file(tmp_path / "a.qac") as container:
        found = container.tensor("w")
        assert container.info("w").codec == "trellis"
    assert found.dtype == dtype and found.tobytes() == item.dense().tobytes()


def test_a_large_transformer_stays_on_uniform_grids_and_a_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sharing = RateSharing({"w": WeightOnGrid(drawn(40, 96))}, {"w": 0.3}, {"w": np.dtype(np.float32)}, "half", {})
    told: list[str] = []
    config = CompressConfig(sharing=MethodChoice("rate", {"trellis": "auto"}))
    assert not rounded_by_choice(sharing, CompressConfig(), True, told.append).trellis and not told
    assert rounded_by_choice(sharing, config, True, told.append).trellis == {"w"} and not told
    assert not rounded_by_choice(sharing, config, False, told.append).trellis and "in PyTorch" in told.pop()
    monkeypatch.setattr(source_rounding, "_MOST", 40 * 96 - 1)
    assert not rounded_by_choice(sharing, config, True, told.append).trellis and "3,840 weights" in told.pop()
    asked = CompressConfig(sharing=MethodChoice("rate", {"trellis": "true"}))
    assert rounded_by_choice(sharing, asked, True, told.append).trellis == {"w"} and not told


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 30))


def test_a_network_is_compressed_on_a_trellis(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"input_shape": (1, 8, 8), "quality": "small", "min_size": 100}
    done = qacomp.compress(network(), output=tmp_path / "a.qac", sharing="rate:trellis=true", **settings)
    told = [note for note in done.notes if "trellis" in note]
    assert len(told) == 1 and "2 of 3 shared tensors" in told[0] and told[0].endswith(": 5.weight")  # rows of 12
    with open_file(tmp_path / "a.qac") as container:
        codecs = {info.name: info.codec for info in map(container.info, container.names)}
        assert codecs["1.weight"] == codecs["3.weight"] == "trellis"
        book = container.shared("1.weight").codebook.reshape(-1)
        assert np.array_equal(book, np.round(book / (book[1] - book[0])) * (book[1] - book[0]))
        dense = container.shared("1.weight").dense()
        assert np.array_equal(dense, container.tensor("1.weight"))


@pytest.mark.parametrize(("gain", "most"), [(0.1, 1 << 19), (-0.1, 1 << 19), (0.1, 1)], ids=["less", "more", "large"])
def test_a_network_is_rounded_as_measuring_says(
    gain: float, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def told(*tasks: Any) -> float:
        measured.append(rounding_choice_gain(*tasks))
        return gain

    rounding_choice_gain = rounding_choice._gain
    monkeypatch.setattr(rounding_choice, "_gain", told)
    monkeypatch.setattr(rounding_choice, "_LEAST", 1)
    monkeypatch.setattr(rounding_choice, "_MOST", most)
    settings: dict[str, Any] = {"input_shape": (1, 8, 8), "quality": "small", "min_size": 100}
    settings |= {"sharing": "rate:trellis=auto"}
    done = qacomp.compress(network(), output=tmp_path / "a.qac", **settings)
    notes = [note for note in done.notes if "rounded on" in note]
    on = gain > 0 and most > 1
    assert len(notes) == 1 and ("rounded on a trellis" if on else "rounded on uniform grids") in notes[0]
    assert len(measured) == (most > 1) and all(-1 < found < 1 for found in measured)
    with open_file(tmp_path / "a.qac") as container:
        assert (container.info("1.weight").codec == "trellis") == on
    if on:  # the base of a later version
        again = qacomp.compress(network(), output=tmp_path / "b.qac", base=tmp_path / "a.qac", **settings)
        assert any(note.startswith("--base: 2 of 3 tensors are on a trellis there, and") for note in again.notes)
        assert (
            "--sharing rate:trellis=auto: weights are rounded as in --base, on uniform grids or on a trellis"
            in again.notes
        )
        with open_file(tmp_path / "a.qac") as first, open_file(tmp_path / "b.qac") as second:
            assert np.array_equal(first.shared("1.weight").indices, second.shared("1.weight").indices)


@pytest.mark.parametrize("asked", ["true", "auto"])
@pytest.mark.parametrize("settings", [{"epochs": 1}, {"target_size": "1KB,2KB"}], ids=["trained", "several sizes"])
def test_where_no_weight_is_put_on_a_trellis_that_is_said(settings: dict[str, Any], asked: str) -> None:
    with pytest.raises(ConfigError, match="rate:trellis: has no effect"):
        qacomp.compress(network(), input_shape=(1, 8, 8), sharing=f"rate:trellis={asked}", **settings)


def test_auto_says_why_it_leaves_weights_on_uniform_grids(tmp_path: Path) -> None:
    save_numpy({"w": drawn(40, 96)}, tmp_path / "w.safetensors")
    sources: dict[str, Any] = {"is tried for 131,072 weights": network(), "in PyTorch": tmp_path / "w.safetensors"}
    for why, source in sources.items():
        shape = {"input_shape": (1, 8, 8)} if isinstance(source, nn.Module) else {}
        settings: dict[str, Any] = {"sharing": "rate:trellis=auto", "quality": "small", "min_size": 100} | shape
        done = qacomp.compress(source, output=tmp_path / "a.qac", force=True, **settings)
        told = [note for note in done.notes if "trellis" in note]
        assert len(told) == 1 and why in told[0] and told[0].startswith("--sharing rate:trellis=auto: rounded on unif")


def test_weights_of_matrix_products_are_paths_along_their_first_axis(tmp_path: Path) -> None:
    weights = {"one": drawn(40, 64) / 6, "two": drawn(64, 32, seed=2) / 8}
    nodes = [helper.make_node("MatMul", ["x", "one"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
             helper.make_node("MatMul", ["r", "two"], ["y"])]  # fmt: skip
    given, told = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", k]) for n, k in (("x", 40), ("y", 32)))
    graph = helper.make_graph(nodes, "g", [given], [told], [numpy_helper.from_array(w, n) for n, w in weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    size = {}
    for way in ("rate", "rate:trellis=true"):
        qacomp.compress(tmp_path / "m.onnx", output=tmp_path / "m.qac", sharing=way, quality="small")
        with open_file(tmp_path / "m.qac") as container:
            size[way] = container.info("one").codec, container.info("two").codec
    assert size["rate:trellis=true"] == ("trellis", "trellis") and "trellis" not in size["rate"]
