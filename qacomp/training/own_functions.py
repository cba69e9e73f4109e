"""A caller's own loss and metric."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class OwnFunctions:
    """A caller's functions (outputs, targets), None: chosen by the settings and the data. See `metric_of`.

    loss_fn: also as text, cross-entropy, mse or module:function.
    """

    loss_fn: "Callable[[Any, Any], Tensor] | str | None" = None
    metric: Any = None

    @property
    def loss_name(self) -> str:
        """Return the name of the loss, auto if none is given."""
        if isinstance(self.loss_fn, str):
            return self.loss_fn
        return "auto" if self.loss_fn is None else getattr(self.loss_fn, "__qualname__", type(self.loss_fn).__name__)
