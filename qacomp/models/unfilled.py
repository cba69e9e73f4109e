"""Networks whose weights are given no first values: for their shapes alone, which takes a fraction of the time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.nn import init
from torch.overrides import TorchFunctionMode

_DRAWS = {"normal_", "uniform_", "random_", "bernoulli_", "exponential_", "fill_", "zero_"}  # methods of tensors
_FILLS = _DRAWS | {name for name in vars(init) if name.endswith("_") and not name.startswith("_")}


class Unfilled(TorchFunctionMode):
    """While it is entered, functions that fill a tensor in place leave it as it is.

    On the device `meta`, torch would run each of them in Python, and import its compiler (two seconds) for the first.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the tensor of a function that fills it, and what any other function gives."""
        given = dict(kwargs or {})
        if getattr(func, "__name__", "") in _FILLS:
            return args[0] if args else given["tensor"]
        return func(*args, **given)
