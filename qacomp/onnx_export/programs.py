"""A torch.export archive as an ONNX model: its graph is built by torch, so only for files whose author is trusted."""

import hashlib
import warnings
from dataclasses import replace
from pathlib import Path

import torch

from qacomp.errors import ExportError
from qacomp.onnx_export.dense import quietly
from qacomp.onnx_graph import OnnxSource, parse_onnx


def export_archive(path: Path) -> OnnxSource:
    """Load a .pt2 file and export it, with its own names, dtypes and free sizes.

    `torch.export.load` evaluates expressions of the file: never call this for one from a stranger. Raises ExportError
    where torch can't load or export it.
    """
    try:
        with quietly(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.onnx.export(torch.export.load(path), dynamo=True, verbose=False)
        assert exported is not None
        data: bytes = exported.model_proto.SerializeToString()
    except Exception as error:  # torch's many layers raise whatever they raise
        reason = " ".join(str(error).split())[:200]
        raise ExportError(f"{path}: torch can't export it to ONNX ({type(error).__name__}: {reason})") from error
    opset = max((i.version for i in exported.model_proto.opset_import if not i.domain), default=0)
    source = parse_onnx(data, path, "exported program", (f"a torch.export archive, exported to ONNX of opset {opset}",))
    content = path.read_bytes()
    return replace(source, digest=hashlib.sha256(content).hexdigest(), bytes=len(content))
