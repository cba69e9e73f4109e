"""The settings that a regularizer can be built with, beside its name, K and λ."""

from dataclasses import dataclass
from typing import Self

from qacomp.errors import ConfigError
from qacomp.options.regularizing import DOMAINS, INITS, RANGES


@dataclass(frozen=True)
class RegularizerOptions:
    """One value for every regularizer; each reads what concerns it and ignores the rest.

    relative_strength: the layer's λ as a multiple of the network's.
    slices: a training step looks at one of this many equal parts of the layer, in turn (1: at all of it). The gradient
    is unbiased over a round; the penalty costs 1/slices as much.
    init (min, exp): where u starts: at the k-means centroids, at K quantiles, or evenly between the extremes.
    range (sin, cos): the ends w and W: fitted to each `layer`, fitted to all layers together (`global`), given, or
    fitted to each layer at the start and then `learned` beside the weights.
    domain (sinreq): whose levels are the zeros, dorefa's or wrpn's; `-raw`: the paper's formula on untransformed w.
    bits (sinreq): of the grid; None: log2 of K. Not an integer where learned or where K is no power of two.
    learn_bits (sinreq): train the bits, starting from `bits` or 8, against `bits_penalty` · bits a layer.
    unit (sinreq, wrpn): the weight that the quantizer takes for 1 (see qacomp.training.quantizers.Scale).
    """

    relative_strength: float = 1.0
    slices: int = 1
    init: str = "kmeans"
    range: str | tuple[float, float] = "layer"
    domain: str = "dorefa"
    bits: float | None = None
    learn_bits: bool = False
    bits_penalty: float = 0.03
    unit: float = 1.0

    def check(self) -> Self:
        """This value, if it can work; ConfigError names the first setting that can't."""
        if self.init not in INITS:
            raise ConfigError(f"init = {self.init!r}: must be one of {', '.join(INITS)}")
        if self.domain not in DOMAINS:
            raise ConfigError(f"domain = {self.domain!r}: must be one of {', '.join(DOMAINS)}")
        if isinstance(self.range, str):
            if self.range not in RANGES:
                raise ConfigError(f"range = {self.range!r}: must be {', '.join(RANGES)} or a pair of numbers")
        elif not (len(self.range) == 2 and self.range[0] < self.range[1]):
            raise ConfigError(f"range = {self.range}: must be a pair of numbers, the smaller one first")
        if self.slices < 1:
            raise ConfigError(f"slices = {self.slices}: must be at least 1")
        if self.bits is not None and not 1 <= self.bits <= 8:
            raise ConfigError(f"bits = {self.bits}: must lie between 1 and 8")
        if not self.unit > 0:
            raise ConfigError(f"unit = {self.unit}: must be greater than zero")
        for name in ("relative_strength", "bits_penalty"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} = {getattr(self, name)}: must not be negative")
        return self
