"""Choose K of each layer of a network without data, from how much its outputs change on generated inputs."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qacomp.models.plain_modules import copied
from qacomp.models.weight_places import tied_names, under_all_names
from qacomp.options.config import CompressConfig
from qacomp.runtime.output_agreement import cosine
from qacomp.sharing.agreement import Trials, refined
from qacomp.sharing.selection import Layer, Selection
from qacomp.sharing.share import share_array
from qacomp.sources.network import Network
from qacomp.sources.probes import probe_inputs

_EXAMPLES, _QUIET = 8, 0.1  # inputs, and the factor on every second one, as for ONNX models


def refined_network(network: Network, selection: Selection, config: CompressConfig) -> tuple[Selection, str | None]:
    """Return the selection with more shared values where the logits on drawn inputs (`probe_inputs`) need them.

    The network is not changed. The second result is a note for the user if the logits still don't agree, else None; see
    `qacomp.sharing.agreement.refined`. Raises DataError if the network fails on the drawn inputs.
    """
    model = network.model
    tied = tied_names(model)
    state = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    twin = copied(model).cpu().eval()
    inputs = torch.from_numpy(probe_inputs(network, _EXAMPLES, config.seed, _QUIET))
    before = _logits(twin, inputs)  # (examples, classes)
    made: dict[Layer, NDArray[np.generic]] = {}
    last: dict[str, NDArray[np.generic]] = {}

    def deviation(weights: Mapping[str, NDArray[np.generic]]) -> float:
        changed = under_all_names(weights, tied)
        twin.load_state_dict({n: torch.from_numpy(np.array(changed.get(n, v))) for n, v in state.items()})
        return 1 - cosine(before, _logits(twin, inputs))

    def tried(chosen: Selection) -> float:
        for layer in chosen.layers:
            if layer not in made:
                packed = share_array(state[layer.name], layer, "tensor", config.stored_precision, config.rounding)
                made[layer] = packed.dense()
            last[layer.name] = made[layer]
        return deviation(last)

    def felt() -> dict[str, float]:
        return {name: deviation({name: values}) for name, values in last.items()}

    return refined(selection, config, state.__getitem__, Trials(tried, last.__getitem__, felt))


def _logits(model: nn.Module, inputs: torch.Tensor) -> NDArray[np.float32]:
    with torch.no_grad():
        logits: NDArray[np.float32] = model(inputs).numpy()
    return logits
