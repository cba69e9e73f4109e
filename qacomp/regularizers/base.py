"""What a quantization-aware regularizer is, and the table of those that exist.

A regularizer is one layer's penalty: a module that maps the layer's weights to the MEAN penalty over them (a scalar)
and knows its K levels, the values where the penalty is zero. R(W) of the paper (Malchiodi et al., eq. 2) is the sum of
the layers' penalties; training minimises the task loss + λ·R(W).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import ClassVar

from torch import Tensor, nn

from qacomp.errors import ConfigError

_CLASSES: dict[str, type["Regularizer"]] = {}
_BUILT_IN = ("sine", "cosine", "minimum_distance", "exponential")


class Regularizer(nn.Module, ABC):
    """The penalty of one layer, built from the layer's weights at the start of training."""

    name: ClassVar[str]
    default_strength: ClassVar[float]
    """λ that suits the penalty's slope, so that `--reg NAME` alone works."""

    @classmethod
    @abstractmethod
    def for_weights(cls, weight: Tensor, k: int) -> "Regularizer":
        """The penalty with K levels that suits `weight` (any shape, float)."""

    @abstractmethod
    def forward(self, weight: Tensor) -> Tensor:
        """Mean penalty over `weight` (any shape): a scalar of weight's dtype."""

    @abstractmethod
    def levels(self) -> Tensor:
        """The K zeros of the penalty inside its range, ascending: (K,) float."""


def register_regularizer(name: str) -> Callable[[type[Regularizer]], type[Regularizer]]:
    """Class decorator: makes a regularizer known as `--reg NAME`."""

    def add(cls: type[Regularizer]) -> type[Regularizer]:
        cls.name = name
        _CLASSES[name] = cls
        return cls

    return add


def regularizer_class(name: str) -> type[Regularizer]:
    """The regularizer registered as `name`; ConfigError lists the known ones."""
    for module in _BUILT_IN:
        import_module(f"qacomp.regularizers.{module}")
    if name not in _CLASSES:
        raise ConfigError(f"unknown regularizer '{name}'; known: {', '.join(sorted(_CLASSES))}, none")
    return _CLASSES[name]


def list_regularizers() -> list[str]:
    """Names of all registered regularizers, sorted."""
    for module in _BUILT_IN:
        import_module(f"qacomp.regularizers.{module}")
    return sorted(_CLASSES)
