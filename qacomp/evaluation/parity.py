"""Measure how far an ONNX model's outputs are from those of its network, and of itself without optimizations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qacomp.evaluation.accuracy import onnx_logits, torch_logits
from qacomp.runtime.comparison import outputs_difference
from qacomp.runtime.session import OnnxModel, open_session

if TYPE_CHECKING:
    import torch


def max_abs_error(model: torch.nn.Module, onnx_model: OnnxModel, x: np.ndarray, *, batch_size: int = 128) -> float:
    """Return the largest |logit difference| over x (N, C, H, W) between a network and an ONNX model of its weights.

    Raises:
        ExportError: the outputs' shapes differ.
        DataError, NonFiniteWeightsError: as in `torch_logits` and `onnx_logits`.
    """
    logits = torch_logits(model, x, batch_size=batch_size), onnx_logits(onnx_model, x, batch_size=batch_size)
    return outputs_difference(logits[:1], logits[1:])


def optimization_error(onnx_model: OnnxModel, x: np.ndarray, *, batch_size: int = 128) -> float:
    """Return the largest |logit difference| over x between onnxruntime with and without its graph optimizations.

    It shows fusions that change results, such as quantized activations after DequantizeLinear + MatMul. Raises what
    `onnx_logits` raises.
    """
    sessions = open_session(onnx_model), open_session(onnx_model, optimize=False)
    logits = [onnx_logits(session, x, batch_size=batch_size) for session in sessions]
    return outputs_difference(logits[:1], logits[1:])
