"""Read and check an ONNX file; its external data is found and mapped, but not read yet."""

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

_LARGEST = 2 << 30  # bytes, the limit of one protobuf message
_CHUNK = 1 << 20


@dataclass(frozen=True)
class OnnxFile:
    """A parsed ONNX model. kind: "onnx", or the kind of file from which it was exported; notes: for the user.

    model: as in the file; external: the files with the values of external tensors; digest: SHA-256 of the file without
    external data, in hex; bytes: its size.
    """

    path: Path
    kind: str
    model: ModelProto
    external: ExternalFiles
    digest: str
    bytes: int
    notes: tuple[str, ...] = ()
    arch: None = None  # fields that a Checkpoint has too; an ONNX file records neither
    data: None = None


def read_onnx(path: Path) -> OnnxFile:
    """Read `path` and check that the file has the data of every tensor; nothing is run.

    Raises NotACheckpointError if the file isn't an ONNX model, and CheckpointError for missing or damaged data.
    """
    try:
        size = path.stat().st_size
        if size >= _LARGEST:
            raise NotACheckpointError(f"{path}: has {size} bytes, but an ONNX file has less than 2 GB; damaged?")
        data = read_small(path, _LARGEST)
    except OSError as error:
        raise NotACheckpointError(f"{path}: can't be read ({words(error)}); {advice(error)}") from error
    return parse_onnx(data, path, "onnx")


def parse_onnx(data: bytes, path: Path, kind: str, notes: tuple[str, ...] = ()) -> OnnxFile:
    """Parse a serialized model. path: its name for messages; external data lies beside it. Raises as `read_onnx`."""
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's error classes differ between its implementations
        raise NotACheckpointError(f"{path}: can't be parsed as ONNX (damaged or truncated?); copy it again") from error
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise NotACheckpointError(f"{path}: an ONNX model without a graph; truncated?")
    external, found = ExternalFiles(path), list(sites(model))
    try:
        for site in found:
            count(site.tensor)
            if is_external(site.tensor):
                external.read(site.tensor)  # checks that the file exists and is long enough
        for slot in slots(found):
            tensor = slot.site.tensor
            if tensor.data_type in DTYPES and not is_external(tensor):
                check_values(tensor)
    except CheckpointError as error:
        raise error if str(path) in str(error) else CheckpointError(f"{path}: {error}") from None
    if model.graph.quantization_annotation:
        notes += ("its quantization annotations are kept unchanged",)
    return OnnxFile(path, kind, model, external, hashlib.sha256(data).hexdigest(), len(data), notes)
