"""Take moments of gradients at the outputs of a PyTorch network's layers, by running it backwards on some inputs."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from qacomp.batches.feed import Feed, arguments, count_of, rows_of
from qacomp.batches.outputs import flat_outputs
from qacomp.calibration.gradient_moments import MOST_WEIGHTS, PASSES, GradientSums, sent_back, spreads_of

_EXAMPLES, _TOGETHER = 256, 16  # of a pass, and of a run: what all layers return is in memory then


def runs_backwards(model: nn.Module) -> bool:
    """Return whether a network isn't too large for gradients."""
    return sum(parameter.numel() for parameter in model.parameters()) <= MOST_WEIGHTS


def gradient_moments(
    model: nn.Module, feeds: Sequence[Feed], layers: Mapping[str, nn.Module], seed: int, advance: Callable[[], None]
) -> dict[str, NDArray[np.float64]]:
    """Return E[g gᵀ] of gradients at the outputs of layers, (groups, values, values) by their names.

    advance: called after each of PASSES passes. Raises whatever the network does where an operation has no
    gradient: RuntimeError, as a rule.
    """
    sums, generator = GradientSums(layers), torch.Generator().manual_seed(seed)
    state = {name: value.detach() for name, value in model.state_dict(keep_vars=True).items()}

    def outputs(part: Feed) -> dict[str, Tensor]:
        found = flat_outputs(functional_call(model, state, *arguments(part)))
        return {name: y.float() for name, y in found.items() if y.is_floating_point() and y.dim() > 1}

    with torch.no_grad():
        spreads = spreads_of(outputs(part) for part in _parts(feeds))
    for _ in range(PASSES):
        for part in _parts(feeds):
            with sums.watching(), torch.enable_grad():
                back = sent_back(outputs(part), spreads, generator)
                if back is not None:
                    back.backward()  # type: ignore[no-untyped-call]
        advance()
    return {name: mean.numpy() for name, mean in sums.means().items()}


def _parts(feeds: Sequence[Feed]) -> Iterator[Feed]:
    """Yield parts of the inputs, _EXAMPLES in all."""
    left = _EXAMPLES
    for feed in feeds:
        count = min(left, count_of(feed))
        for start in range(0, count, _TOGETHER):
            yield rows_of(feed, slice(start, min(start + _TOGETHER, count)))
        left -= count
