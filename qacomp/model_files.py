"""One door for every kind of model file: ONNX models with their graph, everything else as a checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qacomp.checkpoints.recognition import is_onnx
from qacomp.errors import ExportError

if TYPE_CHECKING:
    from qacomp.checkpoints import Checkpoint
    from qacomp.onnx_graph import OnnxSource


def read_model(path: Path, *, trust_pickle: bool = False) -> "Checkpoint | OnnxSource":
    """Read `path`, told by content. A trusted torch.export archive comes with its graph, where torch exports it.

    Raises as `read_checkpoint` and `read_onnx` do.
    """
    if is_onnx(path):
        from qacomp.onnx_graph import read_onnx

        return read_onnx(path)
    from qacomp.checkpoints import read_checkpoint

    checkpoint = read_checkpoint(path, trust_pickle=trust_pickle)
    if checkpoint.kind != "exported program":
        return checkpoint
    if not trust_pickle:
        return replace(checkpoint, notes=(*checkpoint.notes, "--trust-pickle exports its graph to ONNX as well"))
    from qacomp.onnx_export.programs import export_archive

    try:
        return export_archive(path)
    except ExportError as error:
        return replace(checkpoint, notes=(*checkpoint.notes, str(error)))
