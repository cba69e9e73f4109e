"""Check the tensors of a checkpoint: dense, not far larger than the file, and finite if they are shared."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qacomp.errors import CheckpointError, NonFiniteWeightsError
from qacomp.formats.limits import MAX_DIMS

if TYPE_CHECKING:
    from torch import Tensor

_SCHEMES = ("torch.per_tensor_affine", "torch.per_channel_affine")
EXPANSION, ALLOWANCE = 64, 64 << 20  # dense tensors may take 64 times the file's bytes plus 64 MiB


def dense_state(path: Path, state: "Mapping[str, Tensor]", size: int) -> "dict[str, Tensor]":
    """Return contiguous, detached CPU tensors with storages of their own size; tied weights stay the same tensor.

    size: bytes of the file. Raises CheckpointError for sparse, nested and meta tensors, for quantized ones of an
    unknown scheme, and if views would expand to far more bytes than the file has.
    """
    for name, tensor in state.items():
        if (problem := _problem(tensor)) is not None:
            raise CheckpointError(
                f"{path}: tensor {name[:80]} is {problem}; only dense tensors can be compressed: "
                "convert it, and save the state dict again"
            )
    check_expansion(path, sum(tensor.numel() * tensor.itemsize for tensor in state.values()), size)
    from qacomp.models.weight_places import tied_tensors

    tied = tied_tensors(state)
    dense = {name: _compact(tensor.detach().cpu()) for name, tensor in state.items() if name not in tied}
    return {name: dense[tied.get(name, name)] for name in state}


def check_expansion(path: Path, dense: int, size: int) -> None:
    """Raise CheckpointError if tensors take `dense` bytes, far more than the `size` of their file."""
    if dense > EXPANSION * size + ALLOWANCE:
        raise CheckpointError(
            f"{path}: its tensors would take {dense} bytes in a file of {size}: expanded or repeated; save plain copies"
        )


def check_finite(where: object, state: "Mapping[str, Tensor]", names: Iterable[str]) -> None:
    """Raise NonFiniteWeightsError for the first of the tensors `names` (those to share) with NaN or infinity."""
    for name in names:
        if bad := not_finite(state[name]):
            raise NonFiniteWeightsError(
                f"{where}: tensor {name[:80]} has {bad} of {state[name].numel()} values NaN or infinite, so it can't be"
                f" shared; take a checkpoint from before training diverged, or store it exactly: --exclude {name[:80]}"
            )


def not_finite(tensor: "Tensor") -> int:
    """Count the values of a float or complex tensor that are NaN or infinite."""
    import torch

    if not tensor.is_floating_point() and not tensor.is_complex():
        return 0
    values = tensor.float() if tensor.itemsize == 1 else tensor  # isfinite doesn't support 8-bit floats
    return int(torch.count_nonzero(~torch.isfinite(values)))


def kept_note(state: "Mapping[str, Tensor]") -> tuple[str, ...]:
    """Return notes that name the tensors which can't be shared and so are kept exactly, by kind."""
    kinds: dict[str, list[str]] = {}
    for name, tensor in state.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if tensor.is_quantized or tensor.is_complex() or (tensor.is_floating_point() and tensor.itemsize == 1):
            kinds.setdefault(dtype, []).append(name)
        elif not_finite(tensor):
            kinds.setdefault("NaN or infinity", []).append(name)
    return tuple(f"kept exactly, {kind}: {few(names)}" for kind, names in kinds.items())


def few(names: Sequence[str], most: int = 4) -> str:
    """Return the first `most` names, joined by commas, with dots if there are more."""
    return ", ".join(name[:80] for name in names[:most]) + (", ..." if len(names) > most else "")


def _problem(tensor: "Tensor") -> str | None:
    if tensor.is_meta:
        return "meta (without values)"
    if tensor.is_quantized and str(tensor.qscheme()) not in _SCHEMES:
        return f"quantized ({tensor.qscheme()})"
    if tensor.is_nested:
        return "nested"
    if str(tensor.layout) != "torch.strided":
        return "sparse"
    if tensor.dim() > MAX_DIMS:
        return f"of {tensor.dim()} axes, and at most {MAX_DIMS} can be stored"
    return "damaged (a truth value that is neither 0 nor 1)" if _is_odd_truth(tensor) else None


def _is_odd_truth(tensor: "Tensor") -> bool:
    """Return whether a bool tensor has a byte other than 0 and 1, which programs interpret differently."""
    import torch

    return tensor.dtype == torch.bool and bool((tensor.detach().cpu().contiguous().view(torch.uint8) > 1).any())


def _compact(tensor: "Tensor") -> "Tensor":
    tight = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.itemsize
    return tensor if tight else tensor.clone().contiguous()
