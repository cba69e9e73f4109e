"""Tell class scores from other outputs, by their shape and that of the targets."""

from typing import Any

from torch import Tensor

_LABELS = ("int64", "int32", "int16", "int8", "uint8")


def class_rows(outputs: Tensor, y: Any) -> tuple[Tensor, Tensor] | None:
    """Return scores (rows, classes) and labels (rows,) int64; None if the tensors can't be class scores and labels.

    Classes are on axis 1, as in (N, classes) or (N, classes, H, W), where the labels have the other axes. With three
    axes they may be on the last, as in (N, T, classes). It is the rule of `qacomp.evaluation.metrics.rows_of_scores`.
    """
    if not isinstance(y, Tensor) or str(y.dtype).removeprefix("torch.") not in _LABELS:
        return None
    if not outputs.is_floating_point() or outputs.ndim < 2 or not outputs.numel():
        return None
    labels = y[:, 0] if outputs.ndim == 2 and tuple(y.shape) == (len(outputs), 1) else y
    shape = tuple(labels.shape)
    last = shape == tuple(outputs.shape[:-1])
    second = shape == (outputs.shape[0], *outputs.shape[2:])
    axis = -1 if last and (not second or outputs.ndim == 3) else 1
    if not (last or second) or outputs.shape[axis] < 2:
        return None
    rows = outputs if outputs.ndim == 2 else outputs.movedim(axis, -1).reshape(-1, outputs.shape[axis])
    return rows, labels.reshape(-1).long()
