"""Flexible networks: several sub-models of growing size in one, which share parameters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from qacomp.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn


@runtime_checkable
class FlexibleModel(Protocol):
    """What an `nn.Module` with sub-models offers, whatever tells them apart: exits, widths or precisions.

    Calling it gives the logits of the largest sub-model.
    """

    @property
    def submodel_names(self) -> tuple[str, ...]:
        """Return the names of the sub-models, smallest first, such as exit1 ... exit7 or width0.25 ... width1.0."""
        ...

    def forward_all(self, x: "Tensor") -> "list[Tensor]":
        """Map (N, C, H, W) to (N, num_classes) logits of every sub-model, smallest first."""
        ...

    def submodel(self, name: str) -> "nn.Module":
        """Return a plain module that runs alone: copies of the tensors that this sub-model reads, and no others.

        It gives what `forward_all` gives at the name's place. Raises ConfigError for a name that isn't there.
        """
        ...


def submodel_index(names: Sequence[str], name: str) -> int:
    """Return the place of `name` among a flexible model's sub-models; ConfigError names those that there are."""
    if name not in names:
        raise ConfigError(f"unknown sub-model {name!r}: there are {', '.join(names)}")
    return list(names).index(name)
