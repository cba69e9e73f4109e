"""MSDNet: a stack of blocks with an exit after each block; and the network up to one exit by itself."""

import copy

from torch import Tensor, nn

from qacomp.models._dense_scales import DenseLayer, ExitHead, Pyramid, Transition
from qacomp.models._initialization import initialize
from qacomp.models.flexible import submodel_index

SCALE_FACTORS = (1, 2, 4)  # of channels and of bottlenecks, finest scale first


class MultiScaleDenseNetwork(nn.Module):
    """Blocks of dense layers over three scales, and an exit head after each block.

    depths: layers in each block; channels: initial channels of the finest scale; growth: channels that each layer adds
    to it. After each third of the layers the finest scale is dropped, and a transition keeps the fraction `reduction`
    of the channels.
    """

    def __init__(self, depths: tuple[int, ...], channels: int, growth: int, reduction: float, num_classes: int) -> None:
        super().__init__()
        self.submodel_names = tuple(f"exit{i}" for i in range(1, len(depths) + 1))
        self.blocks = nn.ModuleList()
        self.heads = nn.ModuleList()
        interval = -(-sum(depths) // len(SCALE_FACTORS))
        layer = 0
        factors: tuple[int, ...] = SCALE_FACTORS  # of the scales that aren't dropped yet
        for block, depth in enumerate(depths):
            layers: list[nn.Module] = [] if block else [Pyramid(_times(channels, factors))]
            for _ in range(depth):
                kept = SCALE_FACTORS[layer // interval :]
                layers.append(DenseLayer(_times(channels, factors), _times(growth, kept), factors))
                channels += growth
                if len(kept) < len(factors):
                    reduced = int(reduction * channels)
                    layers.append(Transition(_times(channels, kept), _times(reduced, kept)))
                    channels = reduced
                factors, layer = kept, layer + 1
            self.blocks.append(nn.Sequential(*layers))
            self.heads.append(ExitHead(channels * factors[-1], num_classes))
        initialize(self, *(head.get_submodule("linear") for head in self.heads))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, 32, 32) to (N, num_classes) logits of the last exit; the heads of other exits don't run."""
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.heads[-1](x)
        return logits

    def forward_all(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, 32, 32) to (N, num_classes) logits of every exit, first exit first."""
        logits = []
        for block, head in zip(self.blocks, self.heads, strict=True):
            x = block(x)
            logits.append(head(x))
        return logits

    def submodel(self, name: str) -> nn.Module:
        """Return a copy of the network up to the exit `name`, with the same state-dict keys; ConfigError if unknown."""
        return SingleExit(self, submodel_index(self.submodel_names, name))


class SingleExit(nn.Module):
    """MSDNet's blocks up to one exit, and the head of that exit; state-dict keys are those of the whole network."""

    def __init__(self, whole: MultiScaleDenseNetwork, index: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(copy.deepcopy(block) for block in whole.blocks[: index + 1])
        self.heads = nn.ModuleDict({str(index): copy.deepcopy(whole.heads[index])})
        self.train(whole.training)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, 32, 32) to (N, num_classes) logits."""
        for block in self.blocks:
            x = block(x)
        (head,) = self.heads.values()
        logits: Tensor = head(x)
        return logits


def _times(channels: int, factors: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(channels * factor for factor in factors)
