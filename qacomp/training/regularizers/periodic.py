"""The common base of the two periodic penalties: |sin(f·(x − z))| with K zeros in a range [w, W]."""

import math
import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from qacomp.errors import ConfigError
from qacomp.options.declaration import Option, option
from qacomp.options.regularizer_options import RegularizerOptions
from qacomp.training.regularizers.base import QuantizedLayer, Regularizer
from qacomp.training.regularizers.blocks import BLOCK, BlockFunction, Kernel, first
from qacomp.training.regularizers.uniform_range import around_mean, pooled_weights, uniform_range

_NARROWEST = 1e-6  # least width of a learned range
_RANGES = ("layer", "global", "learned")
_DEVIATIONS = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)sigma", re.ASCII)


def given_range(text: str) -> tuple[float, float] | None:
    """Return (low, high) of `LOW:HIGH`, or None for a range that depends on the weights.

    Raises ConfigError for anything else than LOW:HIGH, layer, global, learned or a number of deviations such as 3sigma.
    """
    if text in _RANGES or deviations(text) is not None:
        return None
    low, _, high = text.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise ConfigError(f"range = {text!r:.100}: must be {', '.join(_RANGES)}, 3sigma or LOW:HIGH") from None
    if not -math.inf < ends[0] < ends[1] < math.inf:
        raise ConfigError(f"range = {text!r:.100}: must be two numbers, the smaller one first")
    return ends


def deviations(text: str) -> float | None:
    """Return 3 for `3sigma`: the range is the mean ± 3 standard deviations of a layer's weights; else None."""
    found = _DEVIATIONS.fullmatch(text)
    number = float(found[1]) if found else 0.0
    return number if number > 0 else None


@dataclass(frozen=True)
class PeriodicOptions(RegularizerOptions):
    """Hyper-parameters of the two periodic penalties."""

    range: str = option(
        "layer",
        Option(
            "Interval [w, W] of the shared values: fitted to each layer, to all layers together (global), learned "
            "together with the weights, a layer's mean ± 3sigma, or LOW:HIGH.",
            words=_RANGES,
            metavar="LOW:HIGH",
            check=given_range,
        ),
    )

    @property
    def levels_learned(self) -> bool:
        """Return whether w and W are learned."""
        return self.range == "learned"


class AbsoluteSineKernel(Kernel):
    """φ(x) = |sin(frequency · (x − zero))|; frequency: radians per unit of weight; zero: one of the zeros of φ.

    wanted: return parameter slopes too, Σ ∂φ/∂frequency and Σ ∂φ/∂zero, (2,).
    """

    def __init__(self, frequency: float, zero: float, wanted: bool) -> None:
        self.frequency, self.zero, self.wanted = frequency, zero, wanted

    def worker(self) -> BlockFunction:
        """Return the function of one thread; dφ/dx = frequency · sign(sin) · cos."""
        scratch = tuple(torch.empty((2, BLOCK)))

        def block(x: Tensor, slopes: Tensor) -> tuple[float, Tensor | None]:
            a, s = first(scratch, x.numel())
            torch.sub(x, self.zero, out=a).mul_(self.frequency)
            torch.sin(a, out=s)
            torch.cos(a, out=slopes).mul_(torch.sign(s, out=a)).mul_(self.frequency)
            parameter_slopes = None
            if self.wanted:
                offsets = torch.sub(x, self.zero, out=a).mul_(slopes)
                parameter_slopes = torch.stack([offsets.sum() / self.frequency, -slopes.sum()])
            return s.abs_().sum().item(), parameter_slopes

        return block


class PeriodicPenalty(Regularizer):
    """|sin(f·(x − z))| with K zeros in the range `bounds` = (w, W), (2,): a buffer, or a parameter if it is learned.

    A learned range is trained together with the weights, like the representatives of the learnable regularizers; the
    paper leaves w and W to the user.
    """

    inset: ClassVar[float]
    """The distance from an end of the range to the nearest zero, in steps between zeros."""
    bounds: Tensor

    def __init__(self, k: int, low: float, high: float, *, learned: bool = False) -> None:
        super().__init__()
        self.k = k
        if learned:
            self.bounds = nn.Parameter(torch.tensor([low, high]))
        else:
            self.register_buffer("bounds", torch.tensor([low, high], dtype=torch.float64))

    @classmethod
    def for_weights(
        cls, weight: Tensor, k: int, options: PeriodicOptions, quantized: QuantizedLayer | None = None
    ) -> Self:
        """Return the penalty over the given range, or over that of the uniform grid that fits the weights best."""
        ends = given_range(options.range)
        if (reach := deviations(options.range)) is not None:
            ends = around_mean(weight, reach)
        elif ends is None:
            ends = uniform_range(weight, k, inset=cls.inset)
        return cls(k, *ends, learned=options.levels_learned)

    @classmethod
    def for_layers(
        cls,
        weights: Mapping[str, Tensor],
        ks: Mapping[str, int],
        options: PeriodicOptions,
        quantized: Mapping[str, QuantizedLayer],
    ) -> dict[str, Regularizer]:
        """Return each layer's penalty; a `global` range is fitted to all weights together, for each layer's K."""
        if options.range != "global":
            return super().for_layers(weights, ks, options, quantized)
        pooled = pooled_weights(weights.values())
        return {name: cls(ks[name], *uniform_range(pooled, ks[name], inset=cls.inset)) for name in weights}

    @abstractmethod
    def line(self) -> Tensor:
        """Return (f, z), differentiable in the bounds: (2,)."""

    def width(self) -> Tensor:
        """Return W − w, at least 1e-6, so that the ends of a learned range can't cross: scalar."""
        return (self.bounds[1] - self.bounds[0]).clamp_min(_NARROWEST)

    def reference(self, weight: Tensor) -> Tensor:
        """Return the mean of ρ over `weight` (any shape): scalar."""
        frequency, zero = self.line().to(weight.dtype)
        value: Tensor = torch.sin((weight - zero) * frequency).abs().mean()
        return value

    def kernel(self) -> AbsoluteSineKernel:
        """Return the kernel of ρ."""
        frequency, zero = self.line().tolist()
        return AbsoluteSineKernel(frequency, zero, self.bounds.requires_grad)

    def kernel_parameters(self) -> Tensor | None:
        """Return (f, z) if the range is learned, (2,), else None."""
        return self.line() if self.bounds.requires_grad else None

    def representatives(self) -> Tensor:
        """Return the K zeros inside the range: (K,) float32, ascending, differentiable if the range is learned."""
        frequency, zero = self.line()
        steps = torch.arange(self.k, dtype=self.bounds.dtype, device=self.bounds.device)
        levels: Tensor = (zero + steps * (math.pi / frequency)).float()
        return levels
