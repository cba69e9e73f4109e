"""One way to open an ONNX model in onnxruntime: quiet, on a known number of threads, with errors that name the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from qacomp.errors import ConfigError, DataError, ExportError, NotACheckpointError

if TYPE_CHECKING:
    import onnx

OnnxModel: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto"

_FATAL = 4  # onnxruntime's log severities: what matters arrives as an exception


def open_session(
    model: OnnxModel, *, threads: int = 0, optimize: bool = True, settings: Mapping[str, str] | None = None
) -> Any:
    """Open `model` on the CPU and give its `onnxruntime.InferenceSession`.

    Args:
        model: a path, serialized bytes, or a ModelProto.
        threads: threads within an operator; 0 leaves the number to onnxruntime (all cores).
        optimize: False turns all of onnxruntime's graph optimizations off.
        settings: entries of the session's configuration, such as session.qdq_matmulnbits_accuracy_level.

    Raises:
        ConfigError: `threads` is negative.
        NotACheckpointError: the path can't be read, or holds no ONNX model that onnxruntime runs.
        ExportError: the same for bytes or a ModelProto.
    """
    import onnxruntime

    if threads < 0:
        raise ConfigError(f"threads is {threads}: give 0 for all cores, or a positive number")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for key, value in (settings or {}).items():
        options.add_session_config_entry(key, value)
    source: str | bytes
    if isinstance(model, bytes):
        name, source = "the ONNX model", model
    elif isinstance(model, (str, os.PathLike)):
        name = source = os.fspath(model)
        _require_readable(Path(source))
    else:
        name, source = "the ONNX model", model.SerializeToString()
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime's classes share no public root
        error = NotACheckpointError if isinstance(source, str) else ExportError
        raise error(f"{name}: onnxruntime can't load it ({line(e)}): check that it is a whole ONNX file") from e


def _require_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise NotACheckpointError(f"{path}: the file is empty: decode or export it again")
    except OSError as e:
        raise NotACheckpointError(f"{path}: can't be read ({e.strerror or e}): check the path") from e


def run_session(session: Any, x: np.ndarray) -> np.ndarray:
    """First output for one batch `x`, fed to the first input.

    Raises:
        DataError: onnxruntime refuses the batch, as a rule for its shape or dtype.
    """
    wanted = session.get_inputs()[0]
    try:
        output: np.ndarray = session.run([session.get_outputs()[0].name], {wanted.name: x})[0]
    except Exception as e:
        raise DataError(
            f"onnxruntime can't run input {x.dtype}{list(x.shape)} where the model takes {wanted.type} {wanted.shape} "
            f"({line(e)}): check the data's shape and preprocessing"
        ) from e
    return output


def line(e: BaseException) -> str:
    """An exception's text on one line, shortened."""
    return " ".join(str(e).split())[:200] or type(e).__name__
