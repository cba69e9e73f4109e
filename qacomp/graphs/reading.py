"""An ONNX file from outside, told by content and parsed; its external data is found but not read yet."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from qacomp.errors import CheckpointError, NotACheckpointError
from qacomp.formats.regular import read_small
from qacomp.formats.system_errors import advice, words
from qacomp.graphs.external import ExternalFiles
from qacomp.graphs.skeleton import slots
from qacomp.graphs.values import DTYPES, check_values, count, is_external
from qacomp.graphs.walk import sites

_LARGEST = 2 << 30  # of one protobuf message
_CHUNK = 1 << 20


@dataclass(frozen=True)
class OnnxFile:
    """A parsed model. `kind`: onnx, or what it was exported from; `notes`: remarks for the user, one sentence each.

    `model` is as in the file; values of external tensors are in `external`. `bytes`, `digest`: of the file itself.
    """

    path: Path
    kind: str
    model: ModelProto
    external: ExternalFiles
    digest: str
    bytes: int
    notes: tuple[str, ...] = ()
    arch: None = None  # as a Checkpoint's fields of these names: an ONNX file names neither
    data: None = None


def read_onnx(path: Path) -> OnnxFile:
    """Read `path` and check that every tensor's data can be there; nothing is run.

    Raises NotACheckpointError for a file that is no ONNX model, CheckpointError for external data that is missing.
    """
    try:
        size = path.stat().st_size
        if size >= _LARGEST:
            raise NotACheckpointError(f"{path}: {size} bytes, but an ONNX file itself is below 2 GB; damaged?")
        data = read_small(path, _LARGEST)
    except OSError as error:
        raise NotACheckpointError(f"{path}: can't be read ({words(error)}); {advice(error)}") from error
    return parse_onnx(data, path, "onnx")


def parse_onnx(data: bytes, path: Path, kind: str, notes: tuple[str, ...] = ()) -> OnnxFile:
    """Parse serialized bytes; `path` names them in messages, and external data lies beside it."""
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's error classes differ between its implementations
        raise NotACheckpointError(f"{path}: no readable ONNX model (damaged or truncated); copy it again") from error
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise NotACheckpointError(f"{path}: an ONNX model without a graph; truncated?")
    external, found = ExternalFiles(path), list(sites(model))
    try:
        for site in found:
            count(site.tensor)
            if is_external(site.tensor):
                external.read(site.tensor)  # found, mapped, long enough
        for slot in slots(found):
            tensor = slot.site.tensor
            if tensor.data_type in DTYPES and not is_external(tensor):
                check_values(tensor)
    except CheckpointError as error:
        raise error if str(path) in str(error) else CheckpointError(f"{path}: {error}") from None
    if model.graph.quantization_annotation:
        notes += ("its quantization annotations are kept as they are",)
    return OnnxFile(path, kind, model, external, hashlib.sha256(data).hexdigest(), len(data), notes)
