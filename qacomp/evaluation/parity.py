"""How far an ONNX model's outputs are from the network it was made from, and from itself without optimization."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qacomp.errors import ExportError
from qacomp.evaluation.accuracy import onnx_logits, torch_logits
from qacomp.runtime.session import OnnxModel

if TYPE_CHECKING:
    import torch


def max_abs_error(model: torch.nn.Module, onnx_model: OnnxModel, x: np.ndarray, *, batch_size: int = 128) -> float:
    """Largest |logit difference| over x (N, C, H, W) between a network and an ONNX model of the same weights.

    Raises:
        ExportError: the outputs' shapes differ.
        DataError, NonFiniteWeightsError: as in `torch_logits` and `onnx_logits`.
    """
    return _largest_difference(
        torch_logits(model, x, batch_size=batch_size), onnx_logits(onnx_model, x, batch_size=batch_size)
    )


def optimization_error(onnx_model: OnnxModel, x: np.ndarray, *, batch_size: int = 128) -> float:
    """Largest |logit difference| over x between onnxruntime's default optimizations and none (ORT_DISABLE_ALL).

    A guard against fusions that change results, such as quantized activations behind DequantizeLinear + MatMul.
    """
    return _largest_difference(
        onnx_logits(onnx_model, x, batch_size=batch_size),
        onnx_logits(onnx_model, x, batch_size=batch_size, optimize=False),
    )


def _largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        raise ExportError(f"outputs have shapes {a.shape} and {b.shape}: the two aren't the same network")
    return float(np.abs(a.astype(np.float64) - b).max())
