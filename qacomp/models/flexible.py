"""Flexible networks: one network with several sub-models of growing size, which share parameters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from qacomp.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn


@runtime_checkable
class FlexibleModel(Protocol):
    """The interface of an `nn.Module` with sub-models, which may be exits, widths or precisions.

    Calling the module gives the logits of the largest sub-model.
    """

    @property
    def submodel_names(self) -> tuple[str, ...]:
        """Return the names of the sub-models, smallest first, such as exit1 ... exit7 or width0.25 ... width1.0."""
        ...

    def forward_all(self, x: Any) -> "list[Tensor]":
        """Map (N, C, H, W) to (N, num_classes) logits of every sub-model, smallest first."""
        ...

    def submodel(self, name: str) -> "nn.Module":
        """Return the sub-model `name` as a plain module, with copies of the tensors that it reads, and no others.

        Its logits are those that `forward_all` returns for this sub-model. Raises ConfigError for an unknown name.
        """
        ...


def submodel_index(names: Sequence[str], name: str) -> int:
    """Return the position of `name` among a flexible model's sub-models. Raise ConfigError, which lists them."""
    if name not in names:
        raise ConfigError(f"unknown sub-model {name!r}; give one of {', '.join(names)}")
    return list(names).index(name)
