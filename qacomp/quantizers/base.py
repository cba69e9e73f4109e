"""What a weight quantizer is, and the table of those that exist."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import ClassVar

from torch import Tensor

from qacomp.errors import ConfigError

_QUANTIZERS: dict[str, "Quantizer"] = {}
_BUILT_IN = ("dorefa", "wrpn")


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

    def quantize(self, weight: Tensor, bits: int) -> Tensor:
        """The quantized weights, without gradient: weight's shape and dtype."""
        detached = weight.detach()
        return self.levels(detached, bits)[self.indices(detached, bits)]


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
        import_module(f"qacomp.quantizers.{module}")
    return sorted(_QUANTIZERS)


def check_bits(bits: int, where: str) -> int:
    """`bits`, if it lies between 1 and 8; ConfigError names `where` it came from."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise ConfigError(f"{where}: {bits!r} bits; a quantizer takes a whole number from 1 to 8")
    return bits
