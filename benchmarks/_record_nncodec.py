"""NNCodec's smallest file at a drop, on the same weights: one absolute step for all tensors, trellis quantization on.

Batch norms are folded to a scale and a shift a channel before, as its own option does for networks that it knows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from qacomp.sweeping.nncodec_peer import nncodec_python, nncodec_runs

STEPS = (-38, -36, -34, -32, -30, -28, -26, -24, -22, -20, -18)  # qp: a step doubles every four
Score = Callable[[Mapping[str, NDArray[Any]]], float]
"""What decoded weights are worth: accuracy in percent."""
_SCALE, _SHIFT = ".scale", ".shift"


def nncodec_points(
    weights: Mapping[str, NDArray[np.float32]], score: Score, steps: Sequence[int] = STEPS
) -> list[dict[str, Any]] | None:
    """Bytes and score at each step, or None where there is no NNCodec (QACOMP_NNCODEC_PYTHON names its Python)."""
    if nncodec_python() is None:
        return None
    runs = nncodec_runs(weights, steps)
    return [{"qp": run.qp, "bytes": run.bytes, "score": score(run.decoded)} for run in runs]


def smallest(points: list[dict[str, Any]] | None, least: float) -> int | None:
    """The bytes of the smallest file whose score is at least this, None where there is none."""
    sizes = [p["bytes"] for p in points or () if p["score"] >= least]
    return min(sizes) if sizes else None


def folded(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """The model's float tensors by name; of each batch norm a scale and a shift instead of its four vectors."""
    state, found = model.state_dict(), {}
    norms = _norms(model)
    for name, norm in norms.items():
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        found[name + _SCALE] = scale.detach().numpy()
        found[name + _SHIFT] = (norm.bias - norm.running_mean * scale).detach().numpy()
    for name, value in state.items():
        if value.dtype == torch.float32 and name.rpartition(".")[0] not in norms:
            found[name] = value.numpy().copy()
    return found


def unfolded(model: nn.Module, decoded: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    """The model's state with decoded tensors that were made by `folded`."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    given = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in decoded.items()}
    for name, norm in _norms(model).items():
        state[f"{name}.weight"], state[f"{name}.bias"] = given.pop(name + _SCALE), given.pop(name + _SHIFT)
        state[f"{name}.running_mean"] = torch.zeros_like(state[f"{name}.running_mean"])
        state[f"{name}.running_var"] = torch.full_like(state[f"{name}.running_var"], 1 - norm.eps)
    return state | given


def _norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """The batch norms with weights and statistics."""
    return {n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm) and m.affine and m.track_running_stats}
