"""What onnxruntime made of a model's quantized matrix products: fused, or dequantized anew in every run."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import onnx
import onnxruntime

from qacomp.errors import ExportError
from qacomp.evaluation.session import line


def optimized_operators(path: Path) -> Counter[str]:
    """How often each operator stands in the main graph that onnxruntime runs for the file on the CPU.

    Raises ExportError where it can't be loaded.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(target)
        try:
            onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            model = onnx.load(target, load_external_data=False)
        except Exception as error:  # onnxruntime's classes share no public root
            raise ExportError(f"{path}: onnxruntime can't load it ({line(error)})") from error
    return Counter(node.op_type for node in model.graph.node)
