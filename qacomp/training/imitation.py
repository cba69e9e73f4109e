"""The distance of a network from the original it imitates: of its outputs, and of what its batch norms put out."""

from typing import Any

import torch
from torch import Tensor, nn

from qacomp.calibration.synthetic import batch_norms
from qacomp.calibration.tuning import output_loss

_LEAST = 1e-12  # least variance of what a norm puts out: one that is constant can't be imitated


class Imitation:
    """Runs two networks of the same modules on the same inputs. `end` removes what it put on them."""

    def __init__(self, original: nn.Module, model: nn.Module) -> None:
        self._networks = original, model
        self._found: tuple[dict[int, Tensor], dict[int, Tensor]] = {}, {}
        self._hooks = [
            norm.register_forward_hook(_keeper(found, number))
            for network, found in zip(self._networks, self._found, strict=True)
            for number, norm in enumerate(batch_norms(network))
        ]

    def loss(self, x: Tensor) -> Tensor:
        """Return the distance on inputs (N, ...): of the outputs, plus the mean relative squared error of the norms."""
        (original, model), (wanted, found) = self._networks, self._found
        wanted.clear()
        found.clear()
        with torch.no_grad():
            target = original(x)
        loss = output_loss(model(x), target)
        errors = [((found[n] - y) ** 2).mean() / y.var().clamp_min(_LEAST) for n, y in wanted.items() if n in found]
        return loss + torch.stack(errors).mean() if errors else loss

    def end(self) -> None:
        """Remove the hooks from both networks."""
        for hook in self._hooks:
            hook.remove()


def _keeper(found: dict[int, Tensor], number: int) -> Any:
    def hook(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        found[number] = output

    return hook
