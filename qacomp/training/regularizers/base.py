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
from qacomp.training.regularizers.blocks import BlockMean, Kernel, suits
from qacomp.training.regularizers.options import RegularizerOptions

_CLASSES: dict[str, type["Regularizer"]] = {}
_BUILT_IN = ("sine", "cosine", "minimum_distance", "exponential", "sinreq")
DEFAULT_OPTIONS = RegularizerOptions()


class Regularizer(nn.Module, ABC):
    """The penalty of one layer, built from the layer's weights at the start of training.

    A subclass gives the formula (`textbook`), valid on any device and in any precision, and may give a kernel that
    computes the same for float32 weights in the processor's memory, block by block (see `blocks`).
    """

    name: ClassVar[str]
    inset: ClassVar[float | None] = None
    """Of a uniform static grid: from the range's end to its first level, in steps. None: there is no such range."""
    options: RegularizerOptions = DEFAULT_OPTIONS

    @classmethod
    @abstractmethod
    def for_weights(cls, weight: Tensor, k: int, options: RegularizerOptions = DEFAULT_OPTIONS) -> "Regularizer":
        """The penalty with K levels that suits `weight` (any shape, float)."""

    @abstractmethod
    def textbook(self, weight: Tensor) -> Tensor:
        """Mean penalty over `weight` (any shape): a scalar of weight's dtype, differentiable."""

    @abstractmethod
    def levels(self) -> Tensor:
        """The K zeros of the penalty inside its range, ascending: (K,) float."""

    def kernel(self) -> Kernel | None:
        """The penalty as it is now, as a block kernel; None where there is no such form."""
        return None

    def kernel_parameters(self) -> Tensor | None:
        """What the kernel's further sums are gradients of, differentiable; None where it has none."""
        return None

    def observe(self, weight: Tensor) -> None:
        """Called before each evaluation in training mode: what the penalty takes from the weights without gradient."""

    def settle(self) -> None:
        """Called once, after training: what was learned as a continuous number becomes one that can be used."""

    def extra_penalty(self) -> Tensor | None:
        """A term of the loss beside λ·R(W), a scalar that λ doesn't multiply, or None."""
        return None

    def forward(self, weight: Tensor) -> Tensor:
        """Mean penalty over `weight` (any shape): a scalar of weight's dtype."""
        if self.training:
            self.observe(weight)
        kernel = self.kernel() if suits(weight) else None
        if kernel is None:
            return self.textbook(weight)
        value: Tensor = BlockMean.apply(weight, self.kernel_parameters(), kernel)  # type: ignore[no-untyped-call]
        return value


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
        import_module(f"qacomp.training.regularizers.{module}")
    if name not in _CLASSES:
        raise ConfigError(f"unknown regularizer '{name}'; known: {', '.join(sorted(_CLASSES))}, none")
    return _CLASSES[name]


def list_regularizers() -> list[str]:
    """Names of all registered regularizers, sorted."""
    for module in _BUILT_IN:
        import_module(f"qacomp.training.regularizers.{module}")
    return sorted(_CLASSES)
