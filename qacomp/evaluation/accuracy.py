"""Top-1 and top-k accuracy in percent, of an ONNX model or a PyTorch network. torch is imported only for the latter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from qacomp.errors import ConfigError, DataError, NonFiniteWeightsError
from qacomp.runtime.limits import measuring
from qacomp.runtime.session import OnnxModel, Session, line, open_session, run_session

if TYPE_CHECKING:
    import torch

Progress = Callable[[int, int], None]  # (examples done, examples in total)


def topk_accuracy(logits: np.ndarray, y: np.ndarray, k: int = 1) -> float:
    """Compute the percent of examples whose label is among the k largest logits; of equal logits the first class wins.

    A row of logits with NaN counts as wrong.

    Args:
        logits: (N, classes) floats.
        y: (N,) integer labels.
        k: 1 or more.

    Raises:
        ConfigError: k < 1.
        DataError: the shapes disagree, there are no examples, or a label is no class.
    """
    y = np.asarray(y)
    if k < 1:
        raise ConfigError(f"k is {k}: top-k accuracy needs a k of at least 1")
    if logits.ndim != 2 or y.shape != logits.shape[:1]:
        raise DataError(
            f"logits {list(logits.shape)} and labels {list(y.shape)} don't fit: they must be (N, classes) and (N,)"
        )
    if not len(y):
        raise DataError("no examples to measure accuracy on: check the data spec")
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"labels are {y.dtype}: they must be integers")
    classes = logits.shape[1]
    if y.min() < 0 or y.max() >= classes:
        bad = int(y.min() if y.min() < 0 else y.max())
        raise DataError(f"label {bad} is out of range: the model has {classes} classes, 0 to {classes - 1}")
    return 100.0 * float(np.mean(_right(logits, y, k)))


def top1_right(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (N,) bool: whether the largest of an example's logits (N, classes) is its label's; see `topk_accuracy`."""
    return _right(logits, y, 1)


def _right(logits: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    own = logits[np.arange(len(y)), y][:, None]  # (N, 1)
    ahead = (logits > own) | ((logits == own) & (np.arange(logits.shape[1]) < y[:, None]))  # (N, classes)
    right: np.ndarray = (ahead.sum(axis=1) < k) & ~np.isnan(logits).any(axis=1)  # comparisons with NaN are false
    return right


def onnx_logits(
    model: OnnxModel | Session, x: np.ndarray, batch_size: int = 128, *, progress: Progress | None = None
) -> np.ndarray:
    """Run an ONNX model over x: (N, C, H, W) float32 -> logits (N, classes).

    Args:
        model: a path, serialized bytes, a ModelProto, or a session from `open_session`.
        x: preprocessed examples.
        batch_size: examples in a run.
        progress: called after each batch.

    Raises:
        DataError: no examples, or the model can't take their shape.
        NonFiniteWeightsError: a logit is NaN or infinite.
        NotACheckpointError, ExportError: onnxruntime can't load the model.
    """
    measuring().on_data()
    session = model if isinstance(model, Session) else open_session(model)
    outputs = []
    for s in _batches(x, batch_size, progress):
        batch = np.ascontiguousarray(x[s], np.float32)
        outputs.append(_checked(run_session(session, batch), len(batch), "the ONNX model"))
    return np.concatenate(outputs)


def onnx_accuracy(
    model: OnnxModel | Session,
    x: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int = 128,
    k: int = 1,
    progress: Progress | None = None,
) -> float:
    """Compute the top-k accuracy (top-1 by default) of an ONNX model in percent; see `onnx_logits` for the rest."""
    return topk_accuracy(onnx_logits(model, x, batch_size, progress=progress), y, k)


def torch_logits(
    model: torch.nn.Module,
    x: np.ndarray | torch.Tensor,
    *,
    batch_size: int = 128,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Run a network in eval mode over x: (N, C, H, W) -> logits (N, classes) float32.

    The network is moved to `device` (None: it stays on its device). Afterwards each module has its former mode.

    Raises:
        DataError: no examples, or the network can't take their shape.
        NonFiniteWeightsError: a logit is NaN or infinite.
    """
    import torch

    from qacomp.models.plain_modules import in_eval_mode

    if device is not None:
        model.to(device)
    place = next((t.device for t in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    outputs = []
    channels_last = x.ndim == 4
    with in_eval_mode(model), torch.inference_mode():
        for s in _batches(x, batch_size, progress):
            batch = torch.as_tensor(x[s]).to(place)
            logits = None
            if channels_last:
                # Channels-last inputs make convolutions 15-60 % faster on a CPU. The weights keep their strides, since
                # callers may serialize them. A forward that calls view() on a feature map fails with this layout.
                try:
                    logits = model(batch.contiguous(memory_format=torch.channels_last))
                except Exception:  # if the layout isn't the cause, `_forward` reports the error
                    channels_last = False
            if logits is None:
                logits = _forward(model, batch)
            outputs.append(_checked(logits.float().cpu().numpy(), len(batch), "the network"))
    return np.concatenate(outputs)


def _forward(model: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    import torch

    try:
        logits: torch.Tensor = model(batch)
    except torch.OutOfMemoryError as e:
        raise DataError(f"a batch of {len(batch)} doesn't fit the device's memory; use a smaller batch") from e
    except Exception as e:  # a user's forward may raise anything
        raise DataError(
            f"the network can't run on an input {list(batch.shape)} ({line(e)}); check the data's shape and "
            "preprocessing"
        ) from e
    return logits


def torch_accuracy(
    model: torch.nn.Module,
    x: np.ndarray | torch.Tensor,
    y: np.ndarray | torch.Tensor,
    *,
    batch_size: int = 128,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> float:
    """Compute the top-1 accuracy of a network in percent; arguments and errors as in `torch_logits`.

    For top-k accuracy give the result of `torch_logits` to `topk_accuracy`.
    """
    labels = y if isinstance(y, np.ndarray) else np.asarray(y.cpu())
    return topk_accuracy(torch_logits(model, x, batch_size=batch_size, device=device, progress=progress), labels)


def _batches(x: np.ndarray | torch.Tensor, batch_size: int, progress: Progress | None) -> Iterator[slice]:
    if batch_size < 1:
        raise ConfigError(f"the batch size is {batch_size}; give at least 1")
    if not len(x):
        raise DataError("no examples to run the model on; check the data spec")
    for start in range(0, len(x), batch_size):
        end = min(start + batch_size, len(x))
        yield slice(start, end)
        if progress is not None:
            progress(end, len(x))


def _checked(logits: np.ndarray, batch: int, what: str) -> np.ndarray:
    if logits.ndim != 2 or len(logits) != batch:
        raise DataError(
            f"{what} returns an output {list(logits.shape)} for {batch} examples; it must be one row of logits for each"
        )
    if not np.isfinite(logits).all():
        raise NonFiniteWeightsError(f"{what} returns NaN or infinite logits; check its weights and the preprocessing")
    return logits
