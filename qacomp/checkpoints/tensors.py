"""What every tensor of a checkpoint must be: dense, real, finite, with values, in proportion to its file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qacomp.checkpoints.checkpoint import Checkpoint
from qacomp.errors import CheckpointError, NonFiniteWeightsError

if TYPE_CHECKING:
    from torch import Tensor

EXPANSION, ALLOWANCE = 64, 64 << 20  # dense tensors may take 64 times the file's bytes and 64 MiB


def dense_state(path: Path, state: "Mapping[str, Tensor]", size: int) -> "dict[str, Tensor]":
    """CPU, contiguous, detached tensors, no larger storage behind them than they need; tied ones stay one tensor.

    Raises `CheckpointError` for sparse, quantized, complex and meta tensors, and where views of a file of `size` bytes
    would expand out of proportion.
    """
    for name, tensor in state.items():
        if (problem := _problem(tensor)) is not None:
            raise CheckpointError(
                f"{path}: tensor {name} is {problem}; only dense tensors of real numbers can be compressed: "
                "convert it, and save the state dict again"
            )
    check_expansion(path, sum(tensor.numel() * tensor.itemsize for tensor in state.values()), size)
    from qacomp.weight_places import tied_tensors

    tied = tied_tensors(state)
    dense = {name: _compact(tensor.detach().cpu()) for name, tensor in state.items() if name not in tied}
    return {name: dense[tied.get(name, name)] for name in state}


def check_expansion(path: Path, dense: int, size: int) -> None:
    """Refuse `dense` bytes of tensors from a file of `size` bytes where views were expanded out of all proportion."""
    if dense > EXPANSION * size + ALLOWANCE:
        raise CheckpointError(
            f"{path}: its tensors would take {dense} bytes, from a file of {size}: views expanded out of all proportion"
        )


def check_finite(checkpoint: Checkpoint) -> None:
    """Raise `NonFiniteWeightsError` that names the first tensor with NaN or infinity."""
    import torch

    for name, tensor in checkpoint.state.items():
        if not tensor.is_floating_point():
            continue
        values = tensor.float() if tensor.itemsize == 1 else tensor  # 8-bit floats have no isfinite
        bad = int(torch.count_nonzero(~torch.isfinite(values)))
        if bad:
            raise NonFiniteWeightsError(
                f"{checkpoint.path}: tensor {name} has {bad} of {tensor.numel()} values NaN or infinite; "
                "take a checkpoint from before training diverged"
            )


def _problem(tensor: "Tensor") -> str | None:
    if tensor.is_meta:
        return "meta (without values)"
    if tensor.is_quantized:
        return "quantized"
    if tensor.is_complex():
        return "complex"
    if tensor.is_nested:
        return "nested"
    return None if str(tensor.layout) == "torch.strided" else "sparse"


def _compact(tensor: "Tensor") -> "Tensor":
    tight = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.itemsize
    return tensor if tight else tensor.clone().contiguous()
