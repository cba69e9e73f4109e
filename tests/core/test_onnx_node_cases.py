"""onnx's own cases, one for each way to use an operator: all compress, and decode to what onnxruntime runs the same.

Every eighth is taken as it is, besides the first of each operator, and every twelfth with its inputs as weights;
QACOMP_NODE_CASES=1 to 11 takes others, QACOMP_NODE_CASES=all all of them. Generated inputs are run once: what runs has
its own inputs besides.
"""

import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qacomp.api import compress
from qacomp.errors import ConfigError, ExportError, NotACheckpointError
from qacomp.evaluation import onnx_measuring
from qacomp.exporting.decode import decode_file
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.graphs.reading import parse_onnx
from qacomp.options.config import CompressConfig
from qacomp.result import Result
from qacomp.runtime.agreement import run_all
from qacomp.runtime.wire import NoArray

CHUNKS = 2  # each process that runs one makes all cases, which takes as long as a hundred of them
WANTED = os.environ.get("QACOMP_NODE_CASES", "0")


@cache
def cases() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its expected outputs overflow on purpose
        every = collect_testcases(None)
    assert len(every) >= 1884
    return every


def some(step: int) -> list[Any]:
    return cases() if WANTED == "all" else cases()[int(WANTED) % step :: step]


def covering(step: int) -> list[Any]:
    """As `some`, and the first case of each operator."""
    taken, seen = some(step), set[str]()
    for case in cases():
        operators = {node.op_type for node in case.model.graph.node}
        if not operators <= seen and not any(case is other for other in taken):
            taken.append(case)
        seen |= operators
    return taken


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One run of generated inputs, and two steps of a state."""
    monkeypatch.setattr(onnx_measuring, "_RUNS", 1)
    monkeypatch.setattr(onnx_measuring, "_STEPS", 2)


def own_feed(case: Any, model: onnx.ModelProto) -> dict[str, Any]:
    """The case's own inputs, those that the model still has."""
    values = dict(zip((entry.name for entry in case.model.graph.input), case.data_sets[0][0], strict=False))
    given = {entry.name: values[entry.name] for entry in model.graph.input if entry.name in values}
    return {n: numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for n, v in given.items()}


def with_weights(case: Any) -> onnx.ModelProto:
    """The case with its inputs, where they are tensors, as initializers."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    values = own_feed(case, model)
    for entry in list(model.graph.input):
        value, kind = values.get(entry.name), entry.type.tensor_type.elem_type
        if not isinstance(value, np.ndarray) or kind in (TensorProto.UNDEFINED, TensorProto.STRING):
            continue
        if value.dtype == helper.tensor_dtype_to_np_dtype(kind):
            model.graph.initializer.append(numpy_helper.from_array(value, entry.name))
            model.graph.input.remove(entry)
    return model


def compressed(model: onnx.ModelProto, container: Path, **settings: Any) -> Result:
    source = parse_onnx(model.SerializeToString(), Path("m.onnx"), "onnx")
    return compress(source, None, CompressConfig(k=4, **settings), container)


def run_or_none(model: Any, feed: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return run_all(model, [feed])[0]
    except (ExportError, NotACheckpointError):
        return None


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, bit for bit."""
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if not isinstance(a, np.ndarray):
        return isinstance(a, NoArray | None) and a == b
    if not isinstance(b, np.ndarray) or (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    return np.array_equal(a, b) if a.dtype.kind == "O" else a.tobytes() == b.tobytes()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_case_comes_back_and_runs_the_same(chunk: int, tmp_path: Path) -> None:
    container, output = tmp_path / "m.qac", tmp_path / "m.onnx"
    measured = ran = 0
    for case in covering(8)[chunk::CHUNKS]:
        result = compressed(case.model, container, min_size=1, min_agreement=0.0)
        known = result.agreement is not None
        assert known or any("isn't known" in note for note in result.notes), case.name
        measured += known
        decode_file(container, output)
        dense = output.read_bytes()
        decode_file(container, output, onnx=OnnxOptions("lut"))
        shared = any(layer.k for layer in result.layers)
        assert shared or dense == case.model.SerializeToString(deterministic=True), case.name
        if output.read_bytes() == dense:
            continue
        feed = own_feed(case, case.model)
        wanted = run_or_none(dense, feed)
        if wanted is None:
            continue
        ran += 1
        found = run_or_none(str(output), feed)
        assert found is not None and all(map(same, wanted.values(), found.values())), case.name
    assert measured > 0 and ran > 0, (measured, ran)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_with_inputs_as_weights_every_form_runs_the_same(chunk: int, tmp_path: Path) -> None:
    container, output = tmp_path / "m.qac", tmp_path / "m.onnx"
    shared = ran = 0
    for case in some(12)[chunk::CHUNKS]:
        model = with_weights(case)
        try:
            result = compressed(model, container, include=("*",), min_agreement=0.0)
        except ConfigError:  # all its tensors are tiny, or of integers
            continue
        shared += any(layer.k for layer in result.layers)
        decode_file(container, output)
        feed = own_feed(case, model)
        wanted = run_or_none(str(output), feed)
        if wanted is None:
            continue
        ran += 1
        for form in ("lut", "affine"):
            decode_file(container, output, onnx=OnnxOptions(form))
            found = run_or_none(str(output), feed)
            assert found is not None and list(found) == list(wanted), (case.name, form)
            if form == "lut":
                assert all(map(same, wanted.values(), found.values())), case.name
    assert shared > 0 and ran > 0
