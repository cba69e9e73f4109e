"""The interface of a weight quantizer, and the registry of all quantizers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from qacomp.errors import ConfigError
from qacomp.options.declaration import Bounds, Option, option
from qacomp.options.method import MethodLike
from qacomp.options.method_table import MethodTable
from qacomp.options.registry import Registry

_ENDS = ("same", "full")


def check_ends(text: str) -> None:
    """Raise ConfigError unless `text` is same, full or a number of bits from 1 to 8."""
    if text not in _ENDS and text not in [str(bits) for bits in range(1, 9)]:
        raise ConfigError(f"ends = {text!r:.100}: must be {', '.join(_ENDS)} or a number of bits, 1 to 8")


@dataclass(frozen=True)
class QuantizerOptions:
    """Hyper-parameters of every quantizer; a quantizer with more of them derives its own dataclass."""

    scale: str = option(
        "layer",
        Option(
            "Levels scaled to each layer's weights, or in [−1, 1] as in the papers (unit).",
            choices=("layer", "unit"),
        ),
    )
    ends: str = option(
        "same",
        Option(
            "Bits of the network's first and last layer: same as the others, full precision, or a number.",
            words=_ENDS,
            metavar="BITS",
            check=check_ends,
        ),
    )

    activations: int | None = option(
        None, Option("Bits of the ReLUs' outputs.", bounds=Bounds(1, 8), shown="not quantized", metavar="BITS")
    )

    @property
    def scaled(self) -> bool:
        """Return whether the levels are scaled to each layer's weights."""
        return self.scale == "layer"


@dataclass(frozen=True)
class Scale:
    """A layer's scale: weights are divided by `divisor` before they are quantized, and levels multiplied by `factor`.

    Both are 1 for the quantizers of the papers, whose levels lie in [−1, 1] for any weights.
    """

    divisor: float = 1.0
    factor: float = 1.0


UNIT = Scale()


class Quantizer(ABC):
    """Maps a layer's weights to a few levels: `levels` are their values, `indices` the level of each weight.

    options: hyper-parameters, an instance of the dataclass that the quantizer was registered with.
    """

    name: ClassVar[str]
    idempotent: ClassVar[bool]
    """True if quantizing already quantized weights again, with the same bits, changes nothing."""

    def __init__(self, options: QuantizerOptions) -> None:
        self.options = options

    @abstractmethod
    def levels(self, weight: Tensor, bits: int) -> Tensor:
        """Return the levels for `weight` (any shape, float) at `bits` (1 .. 8): (K,), ascending, in weight's dtype."""

    @abstractmethod
    def indices(self, weight: Tensor, bits: int) -> Tensor:
        """Return the index of each weight's level: int64, in the weight's shape."""

    @abstractmethod
    def fit_scale(self, weight: Tensor, bits: int) -> Scale:
        """Return the scale with the least squared error between `weight` (any shape) and its quantized values.

        With it a trained network keeps its function; without it (UNIT) only batch norms could correct the new scale.
        """

    def quantize(self, weight: Tensor, bits: int, scale: Scale = UNIT) -> Tensor:
        """Return the quantized weights, without gradient, in the weight's shape and dtype."""
        detached = weight.detach() / scale.divisor
        return self.levels(detached, bits)[self.indices(detached, bits)] * scale.factor


QUANTIZERS: MethodTable[type[Quantizer]] = MethodTable(
    "quantizer", QuantizerOptions, Registry("quantizer", "qacomp.training.quantizers", "qacomp.quantizers")
)


def register_quantizer(
    name: str, options: type[QuantizerOptions] = QuantizerOptions
) -> Callable[[type[Quantizer]], type[Quantizer]]:
    """Return a class decorator that registers a quantizer as `--quantizer NAME`.

    options: the frozen dataclass, derived from QuantizerOptions, that declares the quantizer's hyper-parameters.
    """

    def add(cls: type[Quantizer]) -> type[Quantizer]:
        cls.name = name
        return QUANTIZERS.register(name, options)(cls)

    return add


def quantizer_named(method: MethodLike) -> Quantizer:
    """Return the quantizer that `method` names, with its hyper-parameters. ConfigError lists all known quantizers."""
    choice = QUANTIZERS.choice(method)
    options: QuantizerOptions = QUANTIZERS.options(choice)
    return QUANTIZERS.find(choice.name)(options)


def list_quantizers() -> list[str]:
    """Return the names of all registered quantizers, sorted."""
    return QUANTIZERS.names()


def check_bits(bits: int, where: str) -> int:
    """Return `bits` if it is an integer from 1 to 8; else raise ConfigError, whose text begins with `where`."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise ConfigError(f"{where}: {bits!r} bits; a quantizer takes a whole number from 1 to 8")
    return bits


def binary_levels(weight: Tensor) -> Tensor:
    """Return (−mean |w|, mean |w|), (2,): the levels for one bit (Rastegari et al., XNOR-Net, 2016, eq. 6)."""
    scale = weight.abs().mean()
    return torch.stack([-scale, scale])


def binary_indices(weight: Tensor) -> Tensor:
    """Return 1 where the weight is at least zero, else 0: int64, in the weight's shape."""
    return (weight >= 0).long()
