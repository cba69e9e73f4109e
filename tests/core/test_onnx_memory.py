"""How many tensors are in memory at once, with limits lowered so that a small model takes the way of one over 2 GB."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import qacomp.exporting.original_forms
import qacomp.sources.onnx_source
import qacomp.stages.pieces
import qacomp.stages.write
from qacomp.api import compress
from qacomp.errors import AgreementNotReachedError
from qacomp.exporting.decode import decode_file
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.exporting.original_onnx import read_back_error, write_original
from qacomp.formats import Coding, Container, SharedTensor, Writer, open_file
from qacomp.graphs.reading import read_onnx
from qacomp.graphs.skeleton import fill
from qacomp.options.config import CompressConfig

TENSORS, FEW = 8, 4


class Alive:
    """Counts the arrays that wrapped functions gave and that somebody still holds."""

    def __init__(self) -> None:
        self.now, self.most, self.made = 0, 0, 0

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **more: Any) -> Any:
            given = function(*args, **more)
            value = getattr(given, "value", given)
            self.take(value.indices if isinstance(value, SharedTensor) else value)
            return given

        return count

    def take(self, array: NDArray[Any]) -> None:
        while isinstance(array.base, np.ndarray):  # views keep only what owns the memory
            array = array.base
        self.now, self.made = self.now + 1, self.made + 1
        self.most = max(self.most, self.now)
        weakref.finalize(array, self.gone)

    def most_until_now(self) -> int:
        """The most since it was asked last."""
        assert self.made >= TENSORS
        most, self.most, self.made = self.most, self.now, 0
        return most

    def gone(self) -> None:
        self.now -= 1


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Alive:
    """Counts all of the ways in which a tensor's values come into memory; each tensor has sections of its own."""
    counter = Alive()
    given = (Container, "tensor"), (Container, "shared"), (SharedTensor, "dense"), (qacomp.stages.pieces, "packed")
    for owner, name in given:
        monkeypatch.setattr(owner, name, counter.counted(getattr(owner, name)))
    monkeypatch.setattr(qacomp.sources.onnx_source, "_RUN_BELOW", 0)
    coding = Coding(chunk_log2=12, codecs=("zstd",))
    for module in (qacomp.stages.write, qacomp.stages.pieces):
        monkeypatch.setattr(module, "Writer", lambda *args, **how: Writer(*args, **{**how, "coding": coding}))
    return counter


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A chain of products, its matrices in external data, the last of which is the first once more."""
    rng = np.random.default_rng(0)
    names = [f"w{i:02d}" for i in range(TENSORS)]
    arrays = [rng.standard_normal((40, 40)).astype(np.float32) for _ in names]
    arrays[-1] = arrays[0]
    tensors = [numpy_helper.from_array(array, name) for array, name in zip(arrays, names, strict=True)]
    values = ["x", *(f"h{i}" for i in range(1, TENSORS)), "y"]
    nodes = [helper.make_node("MatMul", [values[i], name], [values[i + 1]]) for i, name in enumerate(names)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 40]) for name in ("x", "y")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="m.bin", size_threshold=0)
    return path


def packed(source: Path, **settings: Any) -> Path:
    config = CompressConfig(k=4, min_size=64).with_settings(settings, "test")
    target = source.with_suffix(".qac")
    result = compress(read_onnx(source), None, config, target)
    assert any("neither the original nor the decoded model is run" in note for note in result.notes)
    return target


@pytest.mark.parametrize("exclude", [(), ("w0[1-9]",)])
def test_a_few_tensors_are_in_memory_at_once(
    source: Path, alive: Alive, exclude: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is compressed, verified, decoded, and looked up, where no shared weight is ever dense in the model."""
    path = packed(source, exclude=exclude)
    assert alive.most_until_now() <= FEW
    with open_file(path) as container:
        container.check()
        assert alive.most_until_now() <= FEW
        files = write_original(container, source.with_name("back.onnx"), None, largest=1000)
        assert len(files) == 2 and read_back_error(container, files[0], None) == 0
    assert alive.most_until_now() <= FEW

    put: list[str] = []

    def noted(tensor: TensorProto, *args: Any) -> None:
        put.append(tensor.name)
        fill(tensor, *args)

    monkeypatch.setattr(qacomp.exporting.original_forms, "fill", noted)
    done = decode_file(path, source.with_name("lut.onnx"), onnx=OnnxOptions("lut"))
    assert done.onnx is not None and done.max_abs_error == 0
    assert {t.form for t in done.onnx.tensors} == {"lut"}
    shared = {t.name for t in done.onnx.tensors}
    assert len(shared) == (TENSORS if not exclude else 1) and not shared & set(put)
    assert len(put) == TENSORS - len(shared) and alive.most_until_now() <= FEW
    decode_file(path, source.with_name("back.onnx"))
    assert done.onnx.dense_bytes == source.with_name("back.onnx").stat().st_size


def test_agreement_that_is_asked_for_is_never_left_unmeasured(source: Path, alive: Alive) -> None:
    """A model that is too large to be run can't show what the user asks for: nothing is written."""
    with pytest.raises(AgreementNotReachedError, match="1 GiB or more isn't run, so its agreement can't be measured"):
        packed(source, min_agreement=0.9)
    assert not source.with_suffix(".qac").exists()


def test_errors_of_tensors_that_are_shared_one_by_one_are_their_weights_own(source: Path, alive: Alive) -> None:
    result = compress(read_onnx(source), None, CompressConfig(k=4, min_size=64), source.with_suffix(".qac"))
    rows = [layer for layer in result.layers if layer.k is not None]
    assert len(rows) == TENSORS
    assert all(row.error_of == "weights" and row.error_db is not None and -30 < row.error_db < -5 for row in rows)
