"""What a weight quantizer is, and the table of those that exist."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar

from torch import Tensor

from qacomp.errors import ConfigError

_QUANTIZERS: dict[str, "Quantizer"] = {}
_BUILT_IN = ("dorefa", "wrpn")


@dataclass(frozen=True)
class Scale:
    """Units of a layer: weights are divided by `divisor` before they are quantized, the levels multiplied by `factor`.

    Both 1: the papers' quantizers, whose levels lie in [−1, 1] whatever the layer's weights are.
    """

    divisor: float = 1.0
    factor: float = 1.0


UNIT = Scale()


class Quantizer(ABC):
    """A map from a layer's weights to few levels, given by the levels and each weight's index in them."""

    name: ClassVar[str]
    idempotent: ClassVar[bool]
    """Whether quantizing quantized weights again with the same bits changes nothing."""

    @abstractmethod
    def levels(self, weight: Tensor, bits: int) -> Tensor:
        """The levels for `weight` (any shape, float) at `bits` (1 .. 8): (K,) ascending, of weight's dtype."""

    @abstractmethod
    def indices(self, weight: Tensor, bits: int) -> Tensor:
        """Each weight's level: int64 of weight's shape."""

    @abstractmethod
    def fit_scale(self, weight: Tensor, bits: int) -> Scale:
        """The units in which the quantized `weight` (any shape) lies nearest to it, in least squares.

        A trained network keeps its function under them; with the papers' units only batch norm could take it up.
        """

    def quantize(self, weight: Tensor, bits: int, scale: Scale = UNIT) -> Tensor:
        """The quantized weights, without gradient: weight's shape and dtype."""
        detached = weight.detach() / scale.divisor
        return self.levels(detached, bits)[self.indices(detached, bits)] * scale.factor


def register_quantizer(name: str) -> Callable[[type[Quantizer]], type[Quantizer]]:
    """Class decorator: makes a quantizer known as `--quantizer NAME`."""

    def add(cls: type[Quantizer]) -> type[Quantizer]:
        cls.name = name
        _QUANTIZERS[name] = cls()
        return cls

    return add


def quantizer_named(name: str) -> Quantizer:
    """The quantizer registered as `name`; ConfigError lists the known ones."""
    if name not in list_quantizers():
        raise ConfigError(f"unknown quantizer '{name}'; known: {', '.join(list_quantizers())}, none")
    return _QUANTIZERS[name]


def list_quantizers() -> list[str]:
    """Names of all registered quantizers, sorted."""
    for module in _BUILT_IN:
        import_module(f"qacomp.training.quantizers.{module}")
    return sorted(_QUANTIZERS)


def check_bits(bits: int, where: str) -> int:
    """`bits`, if it lies between 1 and 8; ConfigError names `where` it came from."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise ConfigError(f"{where}: {bits!r} bits; a quantizer takes a whole number from 1 to 8")
    return bits
