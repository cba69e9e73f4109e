"""Round trips of the suite onnx: ONNX in, compressed, decoded dense: the same bytes but for the weights' values."""

import tempfile
from pathlib import Path

import onnx
from _onnx_models import MODELS
from result import Headline, Results, Row, shared_folder

LIGHT = ("squeezenet", "shufflenet", "densenet121", "inception_v1")  # graphs that the package onnx brings


def round_trips() -> Results:
    """ONNX in, compressed, decoded dense: the same bytes but for the weights' values."""
    from onnx.backend.test import __file__ as packaged

    light = Path(packaged).parent / "data" / "light"
    files = [light / f"light_{name}.onnx" for name in LIGHT]
    folder = shared_folder()
    if folder is not None:
        files += [folder / "ckpt" / model.file for model in MODELS.values() if model.file.endswith(".onnx")]
    rows = [Row(f"round_trip_{file.stem}", file.name, {"k": 16}, _round_trip(file)) for file in files if file.exists()]
    good = sum(all(row.results.values()) for row in rows)
    note = f"{good} of {len(rows)}: equal without the values of weights, checker passes, same opset: "
    note += ", ".join(row.description for row in rows)
    return rows, {"onnx_roundtrip_models": Headline(float(good), "models", f"all {len(rows)}", note)}


def _round_trip(path: Path) -> dict[str, bool]:
    from qacomp.api import compress
    from qacomp.exporting.decode import decode_file
    from qacomp.graphs.values import DATA_FIELDS
    from qacomp.graphs.walk import sites
    from qacomp.options.config import CompressConfig
    from qacomp.sources.reading import read_model

    with tempfile.TemporaryDirectory() as scratch:
        container, output = Path(scratch) / "m.qac", Path(scratch) / "m.onnx"
        compress(read_model(path), None, CompressConfig(k=16), container)
        decode_file(container, output)
        before, after = onnx.load(path), onnx.load(output)
    opsets = [(i.domain, i.version) for i in before.opset_import] == [(i.domain, i.version) for i in after.opset_import]
    try:
        onnx.checker.check_model(after)
        checked = True
    except onnx.checker.ValidationError:
        checked = False
    for one, two in zip(list(sites(before)), list(sites(after)), strict=True):
        for tensor in (one.tensor, two.tensor):
            for field in DATA_FIELDS:
                tensor.ClearField(field)
    same = before.SerializeToString(deterministic=True) == after.SerializeToString(deterministic=True)
    return {"same_graph": same, "checker_passes": checked, "same_opset": opsets}
