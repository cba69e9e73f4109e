"""One door for every kind of model file: ONNX models with their graph, everything else as a checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING

from qacomp.checkpoints.recognition import is_onnx

if TYPE_CHECKING:
    from qacomp.checkpoints import Checkpoint
    from qacomp.onnx_graph import OnnxSource


def read_model(path: Path, *, trust_pickle: bool = False) -> "Checkpoint | OnnxSource":
    """Read `path`, told by content. Raises as `read_checkpoint` and `read_onnx` do."""
    if is_onnx(path):
        from qacomp.onnx_graph import read_onnx

        return read_onnx(path)
    from qacomp.checkpoints import read_checkpoint

    return read_checkpoint(path, trust_pickle=trust_pickle)
