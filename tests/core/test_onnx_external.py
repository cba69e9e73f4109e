"""ONNX models with external data, large, damaged or pointing elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, helper
from onnx_sources import branches, packed, packed_file, shared_names, without_weights

from qacomp.errors import CheckpointError, FormatError, NotACheckpointError
from qacomp.exporting.original_onnx import write_original
from qacomp.formats import open_file
from qacomp.graphs.reading import read_onnx
from qacomp.graphs.skeleton import slots
from qacomp.graphs.values import array_of
from qacomp.graphs.walk import sites


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
