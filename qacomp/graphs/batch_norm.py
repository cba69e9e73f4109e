"""Fold batch normalization for inference: two vectors (scale and shift of each channel) instead of four.

y = γ·(x − μ)/√(σ² + ε) + β = s·x + t with s = γ/√(σ² + ε), t = β − μ·s (Ioffe and Szegedy 2015, algorithm 2, line 11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from qacomp.errors import ArchitectureMismatchError, ExportError, NonFiniteWeightsError

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def _batch_norms(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """Yield (name, module) of every batch norm; a module that is used in two places comes with both names."""
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, _BatchNorm):
            yield name, module


def _is_tracked(module: _BatchNorm) -> bool:
    return module.running_mean is not None and module.running_var is not None


def _key(module_name: str, tensor_name: str) -> str:
    return f"{module_name}.{tensor_name}" if module_name else tensor_name


def untracked_batch_norms(model: nn.Module) -> list[str]:
    """Return the names of batch norms without running statistics (track_running_stats=False), which aren't folded."""
    return [name for name, module in _batch_norms(model) if not _is_tracked(module)]


def foldable_batch_norms(model: nn.Module) -> dict[str, float]:
    """Map each name of every batch norm that `fold_statistics` folds to its eps.

    A batch norm without running statistics isn't folded. Neither is one that shares its weight or bias with another
    module, since after folding each would need its own values.
    """
    return {name: float(module.eps) for name, module in _foldable(model)}


def _foldable(model: nn.Module) -> list[tuple[str, _BatchNorm]]:
    holders: dict[int, set[int]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), set()).add(id(module))
    return [
        (name, module)
        for name, module in _batch_norms(model)
        if _is_tracked(module) and all(len(holders[id(p)]) == 1 for p in module.parameters(recurse=False))
    ]


def constant_names(model: nn.Module) -> list[str]:
    """Return the state-dict names of the tensors that are constant after `fold_statistics`."""
    return [
        _key(name, buffer)
        for name, module in _foldable(model)
        for buffer in _BUFFERS
        if getattr(module, buffer) is not None
    ]


def fold_statistics(model: nn.Module) -> list[str]:
    """Fold each batch norm's running statistics into its weight and bias, in place.

    Afterwards weight = γ/√(σ² + ε) and bias = β − μ·weight (computed in float64, stored in their own dtype),
    running_mean = 0, running_var = 1 and eps = 0. So the model's outputs change only by rounding. A batch norm with
    affine=False becomes affine. A batch norm without running statistics or with a tied weight isn't changed, see
    `foldable_batch_norms`. Folding twice changes nothing.

    Args:
        model: a network in eval mode.

    Returns:
        State-dict names of the tensors that are constant now (running_mean, running_var, num_batches_tracked), so that
        they needn't be stored.

    Raises:
        ExportError: the model is in training mode, or a weight is parametrized.
        NonFiniteWeightsError: a variance is negative, or a scale or shift isn't finite.
    """
    folded: dict[int, tuple[str, torch.Tensor, torch.Tensor]] = {}
    for name, module in _foldable(model):
        if id(module) in folded:
            continue
        if module.training:
            raise ExportError(f"batch norm {name!r} is in training mode; call model.eval() before folding")
        if parametrize.is_parametrized(module):
            raise ExportError(f"batch norm {name!r} is parametrized; remove its parametrizations before folding")
        folded[id(module)] = (name, *_scale_and_shift(name, module))  # (C,), (C,)
    for _, module in _batch_norms(model):  # all checks are done, so no error can leave the model half folded
        if id(module) in folded:
            _, scale, shift = folded.pop(id(module))
            _make_affine(module)
            _reset_statistics(module)
            with torch.no_grad():
                module.weight.copy_(scale)
                module.bias.copy_(shift)
    return constant_names(model)


def _scale_and_shift(name: str, module: _BatchNorm) -> tuple[torch.Tensor, torch.Tensor]:
    assert module.running_mean is not None and module.running_var is not None
    mean = module.running_mean.detach().double()  # (C,)
    var = module.running_var.detach().double()  # (C,)
    scale = torch.rsqrt(var + module.eps)
    if module.weight is not None:
        scale = scale * module.weight.detach().double()
    shift = -mean * scale
    if module.bias is not None:
        shift = shift + module.bias.detach().double()
    for tensor, what in ((scale, "scale"), (shift, "shift")):
        if not torch.isfinite(tensor).all():
            raise NonFiniteWeightsError(
                f"batch norm {name!r}: its {what} is NaN or infinite in at least one channel (a negative variance, or "
                "statistics that aren't finite); use another checkpoint"
            )
    return scale, shift


def _make_affine(module: _BatchNorm) -> None:
    assert module.running_var is not None
    like = module.running_var
    if module.weight is None:
        module.weight = nn.Parameter(torch.ones_like(like))
    if module.bias is None:
        module.bias = nn.Parameter(torch.zeros_like(like))
    module.affine = True


def _reset_statistics(module: _BatchNorm) -> None:
    assert module.running_mean is not None and module.running_var is not None
    with torch.no_grad():
        module.running_mean.zero_()
        module.running_var.fill_(1.0)
    module.eps = 0.0


def load_folded(model: nn.Module, tensors: Mapping[str, np.ndarray | torch.Tensor]) -> None:
    """Load a folded state into a freshly built network, in place; the network is in eval mode afterwards.

    Args:
        model: a network of the architecture that was folded.
        tensors: the folded state dict. It may lack the constants that `fold_statistics` returned, and all but one
            of several names of the same parameter.

    Raises:
        ArchitectureMismatchError: keys or shapes differ from the architecture's; the model isn't changed then.
    """
    given = {
        name: torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
        for name, value in tensors.items()
    }
    expected = model.state_dict(keep_vars=True)
    added = {
        _key(name, kind): module.running_var
        for name, module in _foldable(model)
        if not module.affine
        for kind in ("weight", "bias")
    }
    constants = set(constant_names(model))
    present = {id(expected[name]) for name in given if name in expected}
    missing = [
        name
        for name, value in (*expected.items(), *added.items())
        if name not in given and name not in constants and id(value) not in present
    ]
    unknown = [name for name in given if name not in expected and name not in added]
    shapes = [
        f"{name} {tuple(value.shape)} instead of {tuple(like.shape)}"
        for name, value in given.items()
        if (like := expected.get(name, added.get(name))) is not None and value.shape != like.shape
    ]
    wrong = [
        f"{what}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        for what, names in (("missing", missing), ("unknown", unknown), ("shapes", shapes))
        if names
    ]
    if wrong:
        raise ArchitectureMismatchError(
            f"the tensors don't fit this architecture ({'; '.join(wrong)}); build the network from which they come"
        )
    for _, module in _foldable(model):
        _make_affine(module)
        _reset_statistics(module)
    model.load_state_dict({n: v for n, v in given.items() if n not in constants}, strict=False)
    model.eval()
