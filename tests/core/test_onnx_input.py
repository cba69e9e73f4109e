"""ONNX models in: every kind of tensor and place, and the same graph back but for the weights that were shared."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qacomp.api import compress
from qacomp.errors import CheckpointError, ConfigError, FormatError, NotACheckpointError
from qacomp.exporting.decode import decode_file
from qacomp.exporting.decoded_measuring import measure_decoded
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.exporting.original_onnx import write_original
from qacomp.formats import open_file
from qacomp.graphs import read_onnx
from qacomp.graphs.skeleton import slots
from qacomp.graphs.values import DATA_FIELDS, DTYPES, array_of, data_field
from qacomp.graphs.walk import sites
from qacomp.options.config import CompressConfig
from qacomp.result import Result

RNG = np.random.default_rng(0)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def weights(*shape: int, dtype: Any = np.float32) -> NDArray[Any]:
    return RNG.standard_normal(shape).astype(dtype)


def tensor(name: str, array: NDArray[Any]) -> TensorProto:
    return numpy_helper.from_array(array, name)


def model_of(
    nodes: list[onnx.NodeProto],
    initializers: list[TensorProto],
    *,
    inputs: tuple[Any, ...] = ("batch", 16),
    **more: Any,
) -> ModelProto:
    """x -> nodes -> y, both float of rank 2."""
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("x", FLOAT, inputs)],
        [helper.make_tensor_value_info("y", FLOAT, ["batch", None])],
        initializers,
        doc_string="what the graph is",
    )
    opsets = more.pop("opsets", [helper.make_opsetid("", 17)])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="someone", **more)
    helper.set_model_props(model, {"author": "ünïcode", "task": "test"})
    return model


def branches() -> ModelProto:
    """Weights in the main graph, in Constant nodes, in both branches of an If under one name, and in typed fields."""

    def branch(name: str, matrix: NDArray[Any]) -> onnx.GraphProto:
        product = helper.make_node("MatMul", ["h", "w"], ["out"])
        output = helper.make_tensor_value_info("out", FLOAT, None)
        return helper.make_graph([product], name, [], [output], [tensor("w", matrix)])

    nodes = [
        helper.make_node("Constant", [], ["const/weight"], value=tensor("", weights(16, 24))),
        helper.make_node("MatMul", ["x", "const/weight"], ["h0"], name="first", doc_string="a product"),
        helper.make_node("Gemm", ["h0", "typed", "bias"], ["h"], transB=1),
        helper.make_node("ReduceSum", ["h"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "zero"], ["positive"]),
        helper.make_node(
            "If",
            ["positive"],
            ["y"],
            then_branch=branch("a", weights(20, 20)),
            else_branch=branch("b", weights(20, 20)),
        ),
    ]
    typed = helper.make_tensor("typed", FLOAT, [20, 24], weights(20, 24).reshape(-1).tolist())
    return model_of(nodes, [typed, tensor("bias", weights(20)), tensor("zero", np.array(0, np.float32))])


def kinds() -> ModelProto:
    """One tensor of every kind that must come back exactly, beside one weight."""
    exact = {
        "int8": np.arange(300, dtype=np.int8).reshape(3, 100),
        "int64": np.arange(400).reshape(20, 20),
        "bool": (np.arange(400) % 3 == 0).reshape(20, 20),
        "uint64": np.full((8, 8), 2**63 + 5, np.uint64),
        "scalar": np.array(1e-12, np.float32),
        "empty": np.zeros((0, 7), np.float32),
        "mask": np.triu(np.full((32, 32), -np.inf, np.float32)),
        "variance": np.full(64, 1e-9, np.float32),
        "few": np.tile(np.array([0.1, 0.7, 1e-9], np.float32), (30, 10)),
        "complex": (weights(8, 8) + 1j).astype(np.complex64),
        "text": np.array([["one", "two"]] * 40, dtype=object),
        "späße/a:0": np.arange(64, dtype=np.float64),
        "n" * 10_240: weights(32),
    }
    initializers = [tensor(name, value) for name, value in exact.items()]
    for kind in (TensorProto.INT4, TensorProto.FLOAT8E4M3FN, TensorProto.UINT4):
        data = bytes(range(128)) * (2 if kind == TensorProto.FLOAT8E4M3FN else 1)
        initializers.append(helper.make_tensor(f"odd{kind}", kind, [16, 16], data, raw=True))
    initializers += [
        helper.make_tensor("halves", TensorProto.FLOAT16, [4, 40], weights(160).tolist()),
        helper.make_tensor("flags", TensorProto.BOOL, [70], [True, False] * 35),
        tensor("w", weights(16, 32)),
    ]
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], initializers)
    values, indices = tensor("sparse", weights(20)), tensor("i", np.arange(20))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [40, 40]))
    return model


def packed(model: ModelProto, folder: Path, **settings: Any) -> tuple[Result, ModelProto]:
    """The result, and the model that decoding gives."""
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return packed_file(folder / "m.onnx", folder, **settings)


def packed_file(path: Path, folder: Path, **settings: Any) -> tuple[Result, ModelProto]:
    config = CompressConfig(k=4, min_size=64, stored_precision="exact").with_settings(settings, "test")
    result = compress(read_onnx(path), None, config, folder / "m.qac")
    done = decode_file(folder / "m.qac", folder / "back.onnx")
    assert done.max_abs_error == 0
    return result, onnx.load(folder / "back.onnx")


def without_weights(model: ModelProto, names: set[str]) -> bytes:
    """The model with the values of the tensors that were shared taken out, and nothing else."""
    copy = ModelProto.FromString(model.SerializeToString())
    for slot in slots(list(sites(copy))):
        if slot.name in names:
            for field in DATA_FIELDS:
                slot.site.tensor.ClearField(field)
    return bytes(copy.SerializeToString(deterministic=True))


def shared_names(result: Result) -> set[str]:
    return {layer.name for layer in result.layers if layer.k is not None}


@pytest.mark.parametrize("make", [branches, kinds])
def test_the_graph_comes_back_byte_for_byte_but_for_shared_values(
    make: Callable[[], ModelProto], tmp_path: Path
) -> None:
    model = make()
    result, back = packed(model, tmp_path)
    names = shared_names(result)
    assert names and without_weights(back, names) == without_weights(model, names)


def test_weights_are_found_in_constants_subgraphs_and_typed_fields(tmp_path: Path) -> None:
    model = branches()
    result, back = packed(model, tmp_path)
    assert shared_names(result) == {"typed", "const/weight", "w#1", "w#2"}
    for before, after in zip(sites(model), sites(back), strict=True):
        if before.tensor.dims and math.prod(before.tensor.dims) > 100:
            values = array_of(after.tensor)
            assert len(np.unique(values)) == 4
            assert np.corrcoef(values.reshape(-1), array_of(before.tensor).reshape(-1))[0, 1] > 0.9
            assert data_field(after.tensor) == data_field(before.tensor)
    onnx.checker.check_model(back)
    assert result.agreement is not None and (result.agreement.cosine or 0) > 0.5


def test_every_one_of_them_is_looked_up(tmp_path: Path) -> None:
    """Also two of one name in two branches; what can't be looked up is named."""
    packed(branches(), tmp_path)
    done = measure_decoded(decode_file(tmp_path / "m.qac", tmp_path / "lut.onnx", onnx=OnnxOptions("lut")))
    assert done.onnx is not None and done.max_abs_error == 0 and not done.notes
    assert {t.name: t.form for t in done.onnx.tensors} == dict.fromkeys(["typed", "const/weight", "w#1", "w#2"], "lut")
    assert done.onnx.comparison is not None and done.onnx.comparison.max_abs_error == 0
    cast = [helper.make_node("Cast", ["w"], ["f"], to=FLOAT), helper.make_node("MatMul", ["x", "f"], ["y"])]
    packed(model_of(cast, [helper.make_tensor("w", TensorProto.BFLOAT16, [16, 32], weights(512).tolist())]), tmp_path)
    done = decode_file(tmp_path / "m.qac", tmp_path / "lut.onnx", onnx=OnnxOptions("lut"))
    assert done.notes == ("w: dense, since bfloat16 has no look-up and no affine form",)


def test_every_tensor_has_its_reason(tmp_path: Path) -> None:
    result, _ = packed(kinds(), tmp_path)
    reasons = {layer.name: layer.chosen or layer.skipped for layer in result.layers}
    assert reasons["w"] == "weight of MatMul, 512 values"
    assert reasons["int64"] == "int64: kept exactly"
    assert reasons["odd17"] == "float8e4m3fn: kept exactly"
    assert reasons["mask"] == "tensor that no node reads, not a weight"
    assert reasons["sparse.values"] == "sparse tensor: kept exactly"
    assert reasons["variance"] == "fewer than two dimensions: kept exactly"


def test_include_exclude_scope_and_size(tmp_path: Path) -> None:
    def names(**settings: Any) -> set[str]:
        return shared_names(packed(branches(), tmp_path, **settings)[0])

    assert names(include=("const/*",), min_size=256) == {"const/weight"}
    assert names(exclude=("w#?", "typed")) == {"const/weight"}
    assert names(min_size=401) == {"const/weight", "typed"} - {"const/weight"}
    assert names(k_layers={"typed": 8}) == {"typed", "const/weight", "w#1", "w#2"}
    with pytest.raises(ConfigError, match="--exclude nothing"):
        names(exclude=("nothing",))
    masked, back = packed(kinds(), tmp_path, include=("mask", "few", "w"), min_size=256)
    assert shared_names(masked) == {"few", "w"}  # infinity can't be a cluster's mean
    few = next(t for t in back.graph.initializer if t.name == "few")
    expected = np.array([0.1, 0.7, 1e-9], np.float32)
    assert np.array_equal(np.unique(numpy_helper.to_array(few)), np.sort(expected))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16])
def test_weights_stay_in_their_dtype(kind: int, tmp_path: Path) -> None:
    initializer = helper.make_tensor("w", kind, [16, 32], weights(512).tolist())
    nodes = [helper.make_node("Cast", ["w"], ["f"], to=FLOAT), helper.make_node("MatMul", ["x", "f"], ["y"])]
    result, back = packed(model_of(nodes, [initializer]), tmp_path)
    assert shared_names(result) == {"w"}
    after = back.graph.initializer[0]
    assert after.data_type == kind and len(np.unique(array_of(after).view(f"u{DTYPES[kind].itemsize}"))) == 4


def test_equal_tensors_are_stored_once(tmp_path: Path) -> None:
    matrix = weights(64, 64)
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    twice, _ = packed(model_of(nodes, [tensor("a", matrix), tensor("b", matrix)], inputs=("batch", 64)), tmp_path)
    other = model_of(nodes, [tensor("a", matrix), tensor("b", weights(64, 64))], inputs=("batch", 64))
    assert twice.container_bytes < packed(other, tmp_path)[0].container_bytes - 800
    assert next(layer for layer in twice.layers if layer.name == "b").bytes == 0


def test_custom_operators_are_kept(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nobody.knows", 3)]
    strange = helper.make_node("Strange", ["x", "w"], ["y"], domain="nobody.knows", table=tensor("t", weights(9, 9)))
    result, back = packed(model_of([strange], [tensor("w", weights(16, 16))], opsets=opsets), tmp_path)
    assert result.agreement is None and any("agreement with the original isn't known" in n for n in result.notes)
    assert back.graph.node[0] == strange
    assert not shared_names(result)
    reason = "input of nobody.knows.Strange, which isn't known, not a weight: kept exactly unless --include names it"
    assert next(x for x in result.layers if x.name == "w").skipped == reason
    asked = packed(
        model_of([strange], [tensor("w", weights(16, 16))], opsets=opsets), tmp_path, include=("w",), min_size=256
    )
    assert shared_names(asked[0]) == {"w"}


@pytest.fixture
def external(tmp_path: Path) -> Iterator[Path]:
    """A model whose tensors stand in weights.bin."""
    folder = tmp_path / "outside"
    folder.mkdir()
    path = folder / "m.onnx"
    onnx.save(
        branches(), path, save_as_external_data=True, location="weights.bin", size_threshold=0, convert_attribute=True
    )
    yield path


def test_external_data_comes_back_inside(external: Path, tmp_path: Path) -> None:
    result, back = packed_file(external, tmp_path)
    assert shared_names(result) == {"typed", "const/weight", "w#1", "w#2"}
    inside = onnx.load(external)
    for site in sites(inside):
        site.tensor.ClearField("data_location")  # onnx spells the default out
    assert without_weights(back, shared_names(result)) == without_weights(inside, shared_names(result))
    with open_file(tmp_path / "m.qac") as container:
        assert len(container.meta["source"]["external_sha256"]) == 1


def test_external_data_that_is_missing_cut_off_or_elsewhere_is_refused(external: Path) -> None:
    data = external.with_name("weights.bin")
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        read_onnx(external)
    data.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        read_onnx(external)
    (external.parent.parent / "secret").write_bytes(whole)
    data.symlink_to(external.parent.parent / "secret")
    with pytest.raises(CheckpointError, match="outside the model's folder"):
        read_onnx(external)
    for where in ("../secret", "/etc/passwd", ""):
        model = onnx.load(external, load_external_data=False)
        next(s.tensor for s in sites(model) if s.tensor.external_data).external_data[0].value = where
        external.write_bytes(model.SerializeToString())
        with pytest.raises(CheckpointError, match="outside the model's folder"):
            read_onnx(external)


def test_large_models_are_written_with_external_data(tmp_path: Path) -> None:
    model = branches()
    _result, back = packed(model, tmp_path)
    with open_file(tmp_path / "m.qac") as container:
        files = write_original(container, tmp_path / "large.onnx", None, largest=1000)
    assert [f.name for f in files] == ["large.onnx", "large.onnx.data"]
    again = onnx.load(tmp_path / "large.onnx")
    names = {slot.name for slot in slots(list(sites(model)))}
    assert without_weights(again, names) != without_weights(model, set())
    for a, b in zip(sites(back), sites(again), strict=True):
        assert array_of(a.tensor).tobytes() == array_of(b.tensor).tobytes()
    onnx.checker.check_model(str(tmp_path / "large.onnx"))


def test_damaged_models_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    whole = branches().SerializeToString()
    for data in (
        b"\x08\x08\x12",
        whole[: len(whole) // 2],
        b"{}",
        helper.make_model(onnx.GraphProto()).SerializeToString(),
    ):
        path.write_bytes(data)
        with pytest.raises(NotACheckpointError, match=r"m\.onnx"):
            read_onnx(path)
    model = branches()
    model.graph.initializer[1].raw_data *= 2
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="bias"):
        packed_file(path, tmp_path)
    model.graph.initializer[1].dims[0] = -4
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="negative"):
        read_onnx(path)


def test_a_container_whose_graph_points_elsewhere_is_refused(tmp_path: Path) -> None:
    packed(branches(), tmp_path)
    from qacomp.graphs.skeleton import join

    with open_file(tmp_path / "m.qac") as container:
        graph = container.graph()
        assert graph is not None
        model = ModelProto.FromString(graph)
        model.graph.initializer[0].external_data[0].key = "location"
        with pytest.raises(FormatError, match="another file"):
            join(model.SerializeToString(), container.tensor, "m")
        model.graph.initializer[0].external_data[0].key = "qacomp"
        model.graph.initializer[0].dims[0] = 2
        with pytest.raises(FormatError, match="the graph declares"):
            join(model.SerializeToString(), container.tensor, "m")


def test_the_same_model_gives_the_same_bytes_and_a_document(tmp_path: Path) -> None:
    first, _ = packed(branches(), tmp_path)
    once = (tmp_path / "m.qac").read_bytes()
    assert packed_file(tmp_path / "m.onnx", tmp_path)[0].container_bytes == first.container_bytes
    assert (tmp_path / "m.qac").read_bytes() == once
    document = json.loads(json.dumps(first.to_json()))
    assert document["agreement"]["outputs"][0]["name"] == "y"


@pytest.mark.parametrize("name", ["silero_vad_16k_op15.onnx", "dtln_model_1.onnx"])
def test_real_models_come_back(name: str, shared_dir: Path, tmp_path: Path) -> None:
    path = shared_dir / "ckpt" / name
    result, back = packed_file(path, tmp_path, k=16)
    original = onnx.load(path)
    names = shared_names(result)
    assert without_weights(back, names) == without_weights(original, names)
    assert [o.version for o in back.opset_import] == [o.version for o in original.opset_import]
    onnx.checker.check_model(back)
    covered = sum(math.prod(layer.shape) for layer in result.layers if layer.k is not None)
    assert covered * 4 > 0.95 * result.checkpoint_bytes and result.ratio > 8
    assert result.agreement is not None
