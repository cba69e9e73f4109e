"""The interface of a quantization-aware regularizer, and the registry of all regularizers.

A regularizer is the penalty of one layer: a module that maps the layer's weights to the mean penalty over them (a
scalar), and that knows its K representatives, the values where the penalty is zero. R(W) of the paper (Malchiodi et
al., eq. 2) is the sum over the layers; training minimises the task loss + λ·R(W).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from qacomp.options.method_table import MethodTable
from qacomp.options.registry import Registry
from qacomp.options.regularizer_options import RegularizerOptions
from qacomp.training.regularizers.blocks import BlockMean, Kernel, suits


@dataclass(frozen=True)
class QuantizedLayer:
    """How --quantizer quantizes a layer.

    method: name of the quantizer; bits: 1 .. 8; unit: the weight that is mapped to 1, the divisor of
    `qacomp.training.quantizers.Scale`.
    """

    method: str
    bits: int
    unit: float = 1.0


class Regularizer(nn.Module, ABC):
    """The penalty of one layer, built from the layer's weights at the start of training.

    A subclass defines the formula (`reference`), for any device and dtype. It may also define a kernel, which computes
    the same for float32 weights on the CPU, block by block (see `blocks`).
    """

    name: ClassVar[str]
    strength: float = 1.0
    """λ of the layer; the schedule multiplies it by r(t)."""
    slices: int = 1
    """The number of equal parts of the layer; each training step uses one of them, in turn."""

    @classmethod
    @abstractmethod
    def for_weights(
        cls, weight: Tensor, k: int, options: Any, quantized: QuantizedLayer | None = None
    ) -> "Regularizer":
        """Return a penalty with k representatives, fitted to `weight` (any shape, float).

        options: hyper-parameters, an instance of the dataclass that the method was registered with; quantized: how
        --quantizer quantizes the layer, None without --quantizer.
        """

    @classmethod
    def for_layers(
        cls,
        weights: Mapping[str, Tensor],
        ks: Mapping[str, int],
        options: Any,
        quantized: Mapping[str, QuantizedLayer],
    ) -> "dict[str, Regularizer]":
        """Return the penalty of each layer, by weight name. ks: number of representatives by weight name."""
        return {name: cls.for_weights(w, ks[name], options, quantized.get(name)) for name, w in weights.items()}

    def set_strength(self, strength: float) -> None:
        """Set the layer's λ, 0 or more."""
        self.strength = strength

    def divide(self, slices: int) -> None:
        """Divide the layer into `slices` equal parts, of which each step uses one.

        The mean of the gradients over all parts is that of the whole layer.
        """
        self.slices = slices
        if slices > 1:
            self.register_buffer("turn", torch.zeros((), dtype=torch.int64))  # saved with a resumed run

    @abstractmethod
    def reference(self, weight: Tensor) -> Tensor:
        """Return the mean penalty over `weight` (any shape): a differentiable scalar of the weight's dtype."""

    @abstractmethod
    def representatives(self) -> Tensor:
        """Return the representatives, the zeros of the penalty inside its range: (K,) float, ascending."""

    def kernel(self) -> Kernel | None:
        """Return a kernel for the penalty with its present parameters; None if there is no kernel for it."""
        return None

    def kernel_parameters(self) -> Tensor | None:
        """Return the learned values whose derivatives the kernel returns: (P,), differentiable; None without any."""
        return None

    def observe(self, weight: Tensor) -> None:
        """Update what the penalty needs to know of the weights, without gradient; called before each evaluation."""

    def finalize(self) -> None:
        """Round learned continuous values, such as bits, to usable ones; called once, after training."""

    def extra_penalty(self) -> Tensor | None:
        """Return a further term of the loss that λ doesn't multiply: scalar, or None."""
        return None

    def forward(self, weight: Tensor) -> Tensor:
        """Return the mean penalty over `weight` (any shape), by a kernel if possible: a scalar of weight's dtype."""
        if self.training:
            self.observe(weight)
        kernel = self.kernel() if suits(weight) else None
        if kernel is None:
            return self.reference(weight)
        value: Tensor = BlockMean.apply(weight, self.kernel_parameters(), kernel)  # type: ignore[no-untyped-call]
        return value


REGULARIZERS: MethodTable[type[Regularizer]] = MethodTable(
    "reg", RegularizerOptions, Registry("regularizer", "qacomp.training.regularizers", "qacomp.regularizers")
)


def register_regularizer(
    name: str, options: type[RegularizerOptions] = RegularizerOptions
) -> Callable[[type[Regularizer]], type[Regularizer]]:
    """Return a class decorator that registers a regularizer as `--reg NAME`.

    options: the frozen dataclass that declares its hyper-parameters, given as `--reg NAME:HYPER_PARAMETER=VALUE`.
    """

    def add(cls: type[Regularizer]) -> type[Regularizer]:
        cls.name = name
        return REGULARIZERS.register(name, options)(cls)

    return add


def list_regularizers() -> list[str]:
    """Return the names of all registered regularizers, sorted."""
    return REGULARIZERS.names()
