"""What a quantization-aware regularizer is, and the table of those that exist.

A regularizer is one layer's penalty: a module that maps the layer's weights to the MEAN penalty over them (a scalar)
and knows its K levels, the values where the penalty is zero. R(W) of the paper (Malchiodi et al., eq. 2) is the sum of
the layers' penalties; training minimises the task loss + λ·R(W).
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
    """What --quantizer does to a layer.

    method: its name; bits: 1 .. 8; unit: the weight that it takes for 1 (see qacomp.training.quantizers.Scale).
    """

    method: str
    bits: int
    unit: float = 1.0


class Regularizer(nn.Module, ABC):
    """The penalty of one layer, built from the layer's weights at the start of training.

    A subclass gives the formula (`reference`), valid on any device and in any precision, and may give a kernel that
    computes the same for float32 weights in the processor's memory, block by block (see `blocks`).
    """

    name: ClassVar[str]
    strength: float = 1.0
    """The layer's λ, as a multiple of the schedule's."""
    slices: int = 1
    """A training step looks at one of so many equal parts of the layer, in turn."""

    @classmethod
    @abstractmethod
    def for_weights(
        cls, weight: Tensor, k: int, options: Any, quantized: QuantizedLayer | None = None
    ) -> "Regularizer":
        """Return the penalty with K levels that suits `weight` (any shape, float).

        options: the method's hyper-parameters, of the dataclass it was registered with; quantized: what --quantizer
        does to the layer, None without one.
        """

    @classmethod
    def for_layers(
        cls,
        weights: Mapping[str, Tensor],
        ks: Mapping[str, int],
        options: Any,
        quantized: Mapping[str, QuantizedLayer],
    ) -> "dict[str, Regularizer]":
        """Return the penalty of each of several layers, by weight name. `ks`: levels by weight name."""
        return {name: cls.for_weights(w, ks[name], options, quantized.get(name)) for name, w in weights.items()}

    def set_strength(self, strength: float) -> None:
        """Set the layer's λ, 0 or more."""
        self.strength = strength

    def divide(self, slices: int) -> None:
        """Look at one of `slices` equal parts of the layer a step. The gradient is unbiased over a round."""
        self.slices = slices
        if slices > 1:
            self.register_buffer("turn", torch.zeros((), dtype=torch.int64))  # so that a resumed training goes on

    @abstractmethod
    def reference(self, weight: Tensor) -> Tensor:
        """Return the mean penalty over `weight` (any shape): a scalar of weight's dtype, differentiable."""

    @abstractmethod
    def representatives(self) -> Tensor:
        """Return the K zeros of the penalty inside its range, ascending: (K,) float."""

    def kernel(self) -> Kernel | None:
        """Return the penalty as it is now, as a block kernel; None where there is no such form."""
        return None

    def kernel_parameters(self) -> Tensor | None:
        """Return the learned values that the kernel gives slopes for: (P,), differentiable; None without any."""
        return None

    def observe(self, weight: Tensor) -> None:
        """Take from the weights, without gradient, what the penalty needs; called before each evaluation."""

    def finalize(self) -> None:
        """Make what was learned as a continuous number one that can be used; called once, after training."""

    def extra_penalty(self) -> Tensor | None:
        """Return a term of the loss beside λ·R(W), a scalar that λ doesn't multiply, or None."""
        return None

    def forward(self, weight: Tensor) -> Tensor:
        """Return the mean penalty over `weight` (any shape): a scalar of weight's dtype."""
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
    """Return a class decorator that makes a regularizer known as `--reg NAME`.

    options: the frozen dataclass that declares its hyper-parameters, `--reg NAME:HYPER_PARAMETER=VALUE`.
    """

    def add(cls: type[Regularizer]) -> type[Regularizer]:
        cls.name = name
        return REGULARIZERS.register(name, options)(cls)

    return add


def list_regularizers() -> list[str]:
    """Return the names of all registered regularizers, sorted."""
    return REGULARIZERS.names()
