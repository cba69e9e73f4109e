"""See the products with weights that no linear layer holds: those of experts, stacked in one tensor, and of routers.

A weight is (experts, ...) or a single matrix. Each expert's product is seen with the tokens that the router sends to
it, since the model's own code cuts the expert's matrix out of the tensor and multiplies the tokens with it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Add = Callable[[str, int, Tensor, bool], None]
"""Takes the weight's name, the number of the matrix in it, its inputs (..., n), and whether its rows are outputs."""
_LINEAR = F.linear
_PRODUCTS = (torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__)


class PlainProducts(TorchFunctionMode):
    """Sees products while it is entered. weights: the modules that hold some directly, with the names in the model."""

    def __init__(self, weights: Mapping[str, tuple[nn.Module, str]], add: Add) -> None:
        super().__init__()
        self._weights, self._add = weights, add
        self._held: dict[int, tuple[str, Tensor]] = {}  # by the address of the memory
        self._handles: list[Any] = []

    def __enter__(self) -> "PlainProducts":
        """Add hooks that find the weights, and see products from now on."""
        for own, (module, attribute) in self._weights.items():
            self._handles.append(module.register_forward_pre_hook(self._finder(own, attribute)))
            self._handles.append(module.register_forward_hook(self._leaver(own)))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        """Remove what watches them."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()
        self._handles, self._held = [], {}

    def _finder(self, own: str, attribute: str) -> Callable[[nn.Module, Any], None]:
        def find(module: nn.Module, _: Any) -> None:
            weight: Tensor = getattr(module, attribute)
            self._held[weight.untyped_storage().data_ptr()] = (own, weight)

        return find

    def _leaver(self, own: str) -> Callable[[nn.Module, Any, Any], None]:
        def leave(module: nn.Module, given: Any, found: Any) -> None:
            self._held = {address: held for address, held in self._held.items() if held[0] != own}

        return leave

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Run a function of torch, and add the inputs of a product with one of the weights."""
        if self._held and len(args) > 1 and (func is _LINEAR or func in _PRODUCTS):
            given, matrix = args[:2]
            if isinstance(matrix, Tensor) and isinstance(given, Tensor) and matrix.dim() in (2, 3):
                self._look(given, matrix, rows_are_outputs=func is _LINEAR)
        return func(*args, **(kwargs or {}))

    def _look(self, given: Tensor, matrix: Tensor, *, rows_are_outputs: bool) -> None:
        own, weight = self._held.get(matrix.untyped_storage().data_ptr(), ("", matrix))
        if not own:
            return
        if matrix.shape == weight.shape and matrix.dim() == 3:  # all experts at once: (experts, tokens, n)
            if not rows_are_outputs and given.dim() == 3:
                for number in range(len(weight)):
                    self._add(own, number, given[number], False)
            return
        sides = weight.shape[-2:]
        number = matrix.storage_offset() // (sides[0] * sides[1])
        if matrix.dim() == 2 and matrix.shape == sides and matrix.stride() == weight.stride()[-2:]:
            self._add(own, number, given, rows_are_outputs)
        elif matrix.dim() == 2 and matrix.shape == sides[::-1] and matrix.stride() == weight.stride()[-2:][::-1]:
            self._add(own, number, given, not rows_are_outputs)


def plain_weights(modules: Mapping[str, nn.Module]) -> dict[str, tuple[nn.Module, str]]:
    """Return matrices and stacks of them that modules hold beside linear layers, by their names in the model.

    modules: by name, with a dot behind it; see `BlockModel.modules`.
    """
    found = {}
    for prefix, module in modules.items():
        if isinstance(module, nn.Linear | nn.Embedding) or type(module).__name__ == "Conv1D":
            continue
        for attribute, value in module.named_parameters(recurse=False):
            if value.dim() in (2, 3):
                found[prefix + attribute] = (module, attribute)
    return found
