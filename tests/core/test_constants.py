"""Constants aren't weights: grids, masks, tables and positions stay exact, by what reads them and by their values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from constant_tables import alibi_mask, pixel_grid, priors, rotary, weights
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import nn

import qacomp
from qacomp.exporting.decode import decode_file
from qacomp.graphs.reading import read_onnx
from qacomp.sources.torch_weights import select_layers

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def integers(*values: int) -> NDArray[Any]:
    return np.array(values, np.int64)


def node(op: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs.split(), output.split(), **attributes)


def compressed(
    folder: Path,
    nodes: Sequence[NodeProto],
    tensors: dict[str, NDArray[Any]],
    inputs: Mapping[str, tuple[Any, Sequence[Any]]],
    outputs: Sequence[str] = ("y",),
    **settings: Any,
) -> tuple[dict[str, bool], dict[str, str], dict[str, NDArray[Any]]]:
    """Of each tensor: whether it is shared, the reason, and its values as decoded."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    result = qacomp.compress(folder / "m.onnx", output=folder / "m.qac", **(settings or {"k": 16, "min_size": 1}))
    decode_file(folder / "m.qac", folder / "out.onnx")
    back = onnx.load(folder / "out.onnx")
    values = {t.name: numpy_helper.to_array(t) for t in back.graph.initializer}
    shared = {row.name: row.k is not None for row in result.layers}
    return shared, {row.name: str(row.chosen or row.skipped) for row in result.layers}, values


def test_a_detectors_grids_and_priors_stay_exact(tmp_path: Path) -> None:
    grid, boxes = pixel_grid(), priors()
    tensors = {"w": weights(2, 3, 1, 1), "v": weights(4, 416 * 4 // 8), "grid": grid, "centres": boxes[..., :2]}
    tensors |= {"sizes": boxes[..., 2:].copy(), "s": integers(1, 2, -1), "t": integers(1, 416, 4)}
    nodes = [
        node("Conv", "x w", "c"), node("Reshape", "c s", "r"), node("Add", "r grid", "y"),
        node("MatMul", "f v", "h"), node("Reshape", "h t", "loc"), node("Split", "loc halves", "xy wh", axis=2),
        node("Mul", "xy sizes", "moved"), node("Add", "moved centres", "at"), node("Exp", "wh", "e"),
        node("Mul", "e sizes", "size"), node("Concat", "at size", "z", axis=2),
    ]  # fmt: skip
    count = grid.shape[2]
    tensors["halves"] = integers(2, 2)
    inputs = {"x": (FLOAT, [1, 3, 1, count]), "f": (FLOAT, [8, 4])}
    shared, reasons, values = compressed(tmp_path, nodes, tensors, inputs, ("y", "z"))
    assert {name for name, is_shared in shared.items() if is_shared} == {"v"}
    for name in ("grid", "centres", "sizes"):
        assert np.array_equal(values[name], tensors[name]), name
    assert reasons["grid"] == "bias of Add, not a weight: kept exactly unless --include names it"
    shared, _, values = compressed(tmp_path, nodes, tensors, inputs, ("y", "z"), include=("grid",), k=16)
    assert shared["grid"] and np.unique(values["grid"]).size <= 16


@pytest.mark.parametrize("lookup", ["Gather", "GatherND"])
def test_boxes_that_a_ranking_chooses_stay_exact_and_rows_of_ids_are_weights(lookup: str, tmp_path: Path) -> None:
    """A detector takes its best candidates' priors by TopK's places, some of them behind arithmetic."""
    random = np.random.default_rng(2)
    tensors = {"w": weights(416, 16), "boxes": random.uniform(0, 1, (416, 4)).astype(np.float32)}
    tensors |= {"table": weights(416, 4), "k": integers(20), "classes": integers(1), "last": integers(-1)}
    nodes = [
        node("MatMul", "x w", "scores"), node("Squeeze", "scores zero", "s"), node("TopK", "s k", "best at", axis=0),
        node("Div", "at classes", "d"), node("Unsqueeze", "d last", "places"), node("Unsqueeze", "best last", "b"),
        node(lookup, "boxes places", "taken"), node(lookup, "table ids", "rows"), node("Add", "taken b", "y"),
        node("Add", "rows one", "z"),
    ]  # fmt: skip
    tensors |= {"zero": integers(0), "one": np.ones((1, 4), np.float32), "w": weights(16, 416)}
    inputs = {"x": (FLOAT, [1, 16]), "ids": (TensorProto.INT64, [3, 1])}
    shared, reasons, values = compressed(tmp_path, nodes, tensors, inputs, ("y", "z"))
    assert shared["table"] and shared["w"] and not shared["boxes"], reasons
    assert reasons["boxes"].startswith(f"value of {lookup}, not a weight")
    assert np.array_equal(values["boxes"], tensors["boxes"])


def test_a_grids_coordinates_that_are_added_to_a_product_arent_rounded(tmp_path: Path) -> None:
    tensors = {"w": weights(16, 65), "x0": ((np.arange(65) + 0.5) / 65).astype(np.float32)}
    nodes = [node("MatMul", "x w", "h"), node("Add", "h x0", "y")]
    _, reasons, values = compressed(tmp_path, nodes, tensors, {"x": (FLOAT, [1, 16])})
    assert np.array_equal(values["x0"], tensors["x0"]) and "kept exactly" in reasons["x0"]


def test_integral_weights_of_a_distribution_head_stay_exact(tmp_path: Path) -> None:
    """YOLO's head takes the mean of 0 ... 15 by a convolution: a grid by its values, whatever reads it."""
    tensors = {"w": weights(64, 8, 1, 1), "steps": np.arange(64, dtype=np.float32).reshape(1, 64, 1, 1)}
    nodes = [node("Conv", "x w", "c"), node("Softmax", "c", "p", axis=1), node("Conv", "p steps", "y")]
    shared, reasons, values = compressed(tmp_path, nodes, tensors, {"x": (FLOAT, [1, 8, 5, 5])}, k=8)
    assert shared == {"w": True, "steps": False} and np.array_equal(values["steps"], tensors["steps"])
    assert "a grid of equal steps" in reasons["steps"]
    integral = nn.Conv2d(64, 1, 1, bias=False)
    network = nn.Sequential(nn.Conv2d(8, 64, 1), integral)
    with torch.no_grad():
        integral.weight.copy_(torch.from_numpy(tensors["steps"]))
    chosen = select_layers(network, "all", 8, {})
    assert [layer.name for layer in chosen.layers] == ["0.weight"] and "a grid" in chosen.skipped["1.weight"]


def test_attention_keeps_its_masks_slopes_and_rotations(tmp_path: Path) -> None:
    cos, sin = rotary()
    tensors = {"w": weights(32, 32), "cos": cos, "sin": sin, "alibi": alibi_mask(), "rope": cos.copy()}
    tensors |= {"fill": np.full((64, 64), -1e9, np.float32), "causal": np.tril(np.ones((64, 64), bool))}
    nodes = [
        node("MatMul", "x w", "q"), node("Mul", "q cos", "a"), node("Mul", "x sin", "b"), node("Add", "a b", "r"),
        node("Gather", "rope ids", "turn"), node("Mul", "r turn", "r2"), node("Transpose", "x", "k", perm=[1, 0]),
        node("MatMul", "r2 k", "s"), node("Add", "s alibi", "t"), node("Where", "causal t fill", "u"),
        node("Softmax", "u", "y", axis=-1),
    ]  # fmt: skip
    inputs = {"x": (FLOAT, [64, 32]), "ids": (INT, [64])}
    for settings in ({}, {"codebook": "channel", "k": 4}, {"codebook": "affine4"}, {"levels": (4, 16)}):
        shared, reasons, values = compressed(tmp_path, nodes, tensors, inputs, **settings)
        assert [name for name, is_shared in shared.items() if is_shared] == ["w"]
        for name in ("cos", "sin", "alibi", "fill", "rope"):
            assert np.array_equal(values[name], tensors[name]), name
    assert "a table of sines" in reasons["rope"]  # a look-up of ids, but no embedding


def test_embeddings_of_ids_are_weights_and_positions_are_not(tmp_path: Path) -> None:
    """As in BERT: words and segments by ids, positions by a range as long as the input, layer norm, a product."""
    tensors = {
        "words": weights(100, 32), "segments": weights(4, 32), "positions": weights(64, 32),
        "fixed": weights(1, 16, 32),
        "zero": integers(0), "one": integers(1), "axis": integers(0), "w": weights(32, 64), "g": weights(32) + 1,
        "b": weights(32), "all": np.arange(64)[None],
    }  # fmt: skip
    nodes = [
        node("Gather", "words ids", "a"), node("Gather", "segments types", "b1"), node("Add", "a b1", "c"),
        node("Shape", "ids", "shape"), node("Gather", "shape one", "length"), node("Slice", "all zero length one", "p"),
        node("Gather", "positions p", "d"), node("Add", "c d", "e"), node("Add", "e fixed", "f"),
        node("LayerNormalization", "f g b", "h"), node("MatMul", "h w", "y"),
    ]  # fmt: skip
    inputs = {"ids": (INT, [1, 16]), "types": (INT, [1, 16])}
    shared, reasons, values = compressed(tmp_path, nodes, tensors, inputs)
    assert {name for name, is_shared in shared.items() if is_shared} == {"words", "segments", "w"}
    assert np.array_equal(values["positions"], tensors["positions"])
    assert reasons["positions"].startswith("value of Add, not a weight")
    assert reasons["words"] == "weight of Gather, 3,200 values, shared values rounded to fp16"
    asked, _, _ = compressed(tmp_path, nodes, tensors, inputs, include=("positions",), k=16)
    assert asked["positions"]


def test_learned_positions_are_shared_where_outputs_are_measured(tmp_path: Path) -> None:
    """Not a table of sines in the same place, nor one that no output depends on, nor one of two rows."""
    angles = np.arange(64)[:, None] / 100 ** (np.arange(32) / 32)
    tensors = {
        "words": weights(100, 32), "positions": weights(64, 32), "sines": np.sin(angles).astype(np.float32),
        "unread": weights(64, 32), "segments": weights(2, 32), "zero": integers(0), "one": integers(1),
        "w": weights(32, 64), "last": integers(1),
    }  # fmt: skip
    nodes = [
        node("Gather", "words ids", "a"), node("Shape", "ids", "shape"), node("Slice", "positions zero shape", "p"),
        node("Add", "a p", "b"), node("Slice", "sines zero shape", "s"), node("Add", "b s", "c"),
        node("Gather", "segments zero", "t"), node("Add", "c t", "d"), node("MatMul", "d w", "y"),
        node("Slice", "unread zero shape", "u"), node("Add", "a u", "v"), node("Shape", "v", "z"),
    ]  # fmt: skip
    shared, reasons, values = compressed(
        tmp_path, nodes, tensors, {"ids": (INT, ["n"])}, ("y",), target_size="14kB", min_size=1
    )
    assert {name for name, is_shared in shared.items() if is_shared} == {"words", "positions", "w"}
    assert reasons["positions"].startswith("value of Add, a learned table, 2,048 values")
    assert (
        reasons["unread"]
        == "value of Add, a learned table, 2,048 values, but no measured output depends on it: kept exactly"
    )
    for name in ("sines", "segments", "unread"):
        assert np.array_equal(values[name], tensors[name]), name
    assert not np.array_equal(values["positions"], tensors["positions"])


def test_weights_are_found_behind_what_joins_them_with_constants(tmp_path: Path) -> None:
    """Weight norm, low-rank additions, slices of one matrix, an If's choice, a Loop's and a Scan's matrices."""
    low = [node("MatMul", "down up", "delta"), node("Add", "base delta", "full"), node("MatMul", "x full", "a")]
    norm = [
        node("Mul", "v v", "square"), node("ReduceSum", "square axis", "sum"), node("Sqrt", "sum", "root"),
        node("Div", "v root", "unit"), node("Mul", "unit scale", "wn"), node("Transpose", "wn", "wt", perm=[1, 0]),
        node("MatMul", "a wt", "b"),
    ]  # fmt: skip
    cut = [node("Split", "pair", "left right", axis=1), node("Concat", "right left", "joined", axis=1)]
    cut += [node("Gather", "joined order", "shuffled", axis=1), node("MatMul", "b shuffled", "c")]
    out = [helper.make_tensor_value_info(f"{name}_", FLOAT, [16, 16]) for name in ("then", "else")]
    branches = [helper.make_graph([node("Identity", o.name[:-1], o.name)], o.name[:-1], [], [o]) for o in out]
    choice = [node("ReduceSum", "x", "total", keepdims=0), node("Cast", "total", "cond", to=TensorProto.BOOL)]
    choice += [node("If", "cond", "chosen", then_branch=branches[0], else_branch=branches[1])]
    choice += [node("MatMul", "c chosen", "d")]
    state = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("MatMul", "h m", "g"), node("Identity", "m", "m2"), node("Identity", "go", "go2")], "loop",
        [state("i", INT, []), state("go", TensorProto.BOOL, []), state("h", FLOAT, None), state("m", FLOAT, None)],
        [state("go2", TensorProto.BOOL, []), state("g", FLOAT, None), state("m2", FLOAT, None)],
    )  # fmt: skip
    loop = [node("Loop", "turns  d steady".replace("  ", " yes "), "e m_out", body=body)]
    scan_body = helper.make_graph(
        [node("MatMul", "hs ms", "gs")], "scan", [state("hs", FLOAT, None), state("ms", FLOAT, None)],
        [state("gs", FLOAT, None)],
    )  # fmt: skip
    scan = [node("Scan", "e stack", "y", body=scan_body, num_scan_inputs=1)]
    tensors = {
        "base": weights(16, 16), "down": weights(16, 4), "up": weights(4, 16), "v": weights(16, 16),
        "scale": weights(16, 1), "axis": integers(1), "pair": weights(16, 16), "order": integers(*range(15, -1, -1)),
        "then": weights(16, 16), "else": weights(16, 16), "steady": weights(16, 16), "stack": weights(3, 16, 16),
        "turns": np.array(2), "yes": np.array(True),
    }  # fmt: skip
    shared, reasons, _ = compressed(
        tmp_path, [*low, *norm, *cut, *choice, *loop, *scan], tensors, {"x": (FLOAT, [4, 16])}
    )
    assert {name for name, is_shared in shared.items() if not is_shared} == {"scale", "order"}, reasons


def test_an_outer_product_and_an_elementwise_einsum_have_no_weights(tmp_path: Path) -> None:
    """inv_freq · positions makes rotary angles: no sum is taken over anything."""
    tensors = {"inv": (1 / 10000 ** (np.arange(32) / 32))[None, :, None].astype(np.float32), "w": weights(32, 16)}
    tensors |= {"scale": weights(16, 16), "mix": weights(16, 16)}
    nodes = [
        node("MatMul", "inv at", "angle"), node("Cos", "angle", "cos"), node("Transpose", "cos", "t", perm=[0, 2, 1]),
        node("MatMul", "t w", "h"), node("Einsum", "h scale", "i", equation="bij,ij->bij"),
        node("Einsum", "i mix", "y", equation="bij,jk->bik"),
    ]  # fmt: skip
    shared, _, values = compressed(tmp_path, nodes, tensors, {"at": (FLOAT, [1, 1, 16])})
    assert shared == {"inv": False, "w": True, "scale": False, "mix": True}
    assert np.array_equal(values["inv"], tensors["inv"])


def test_scales_of_packed_integers_are_no_weights(tmp_path: Path) -> None:
    """MatMulNBits and its kin take a matrix of scales beside integers; of an unknown operator nothing is known."""
    from qacomp.graphs.roles import roles
    from qacomp.graphs.skeleton import slots
    from qacomp.graphs.walk import sites

    microsoft = {"domain": "com.microsoft"}
    nodes = [
        helper.make_node("MatMulNBits", ["x", "q", "scales"], ["a"], K=32, N=32, bits=4, block_size=32, **microsoft),
        helper.make_node("FusedMatMul", ["a", "w"], ["b"], **microsoft),
        helper.make_node("Attention", ["b", "qkv", "bias", "", "", "relative"], ["c"], num_heads=2, **microsoft),
        helper.make_node("RotaryEmbedding", ["c", "ids", "cos", "sin"], ["d"], **microsoft),
        helper.make_node("EmbedLayerNormalization", [*"ii", "words", "places", "kinds", *"gb"], [*"ef"], **microsoft),
    ]  # fmt: skip
    names = ("scales", "w", "qkv", "relative", "cos", "sin", "words", "places", "kinds")
    graph = helper.make_graph(nodes, "g", [], [], [numpy_helper.from_array(weights(32, 32), name) for name in names])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    model = read_onnx(tmp_path / "m.onnx").model
    found = slots(list(sites(model)))
    parts = {s.name: use[0].part for s, use in zip(found, roles(model, [s.site for s in found]), strict=True)}
    assert {name for name, part in parts.items() if part == "weight"} == {"w", "qkv", "words", "kinds"}
