"""Compare a PyTorch network before and after compression: the error at each layer, and the agreement of outputs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from qacomp.batches.feed import Feed, as_feed, called, count_of, mapped
from qacomp.batches.outputs import flat_outputs
from qacomp.errors import DataError
from qacomp.evaluation.accuracy import torch_logits
from qacomp.evaluation.on_batches import device_of
from qacomp.graphs.inputs import InputUse
from qacomp.models.weight_places import split_name
from qacomp.runtime.agreement import Agreement, compare
from qacomp.runtime.input_plan import PlannedInput
from qacomp.runtime.input_values import draw
from qacomp.runtime.operator_error import OperatorError, decibels, weight_error
from qacomp.sources.network import Network
from qacomp.sources.probes import probe_inputs

EXAMPLES = 8


def generated_examples(network: Network, seed: int) -> NDArray[np.float32]:
    """Draw inputs (8, C, H, W): generated pictures if the input shape may be an image's, else standard normal values.

    If the network fails on them, `probe_inputs` draws others. Raises DataError if it fails on those too.
    """
    shape, _ = network.images
    pictures = len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) > 1
    kind, layout = ("image", "nchw") if pictures else ("values", "")
    planned = PlannedInput("input", np.dtype(np.float32), kind, (1, *shape), InputUse(), layout)
    rows = [draw(planned, {}, np.random.default_rng([seed, i]), loud=i % 2 == 0) for i in range(EXAMPLES)]
    drawn = np.concatenate(rows)
    try:
        torch_logits(network.model, drawn)
    except DataError:
        return probe_inputs(network, EXAMPLES, seed)
    return drawn


def layer_errors(
    original: nn.Module, shared: Mapping[str, NDArray[Any]], inputs: Feed | NDArray[Any]
) -> dict[str, OperatorError]:
    """Return, by name, the error of each layer's output with its shared weight, on the layer's inputs in `original`.

    shared: the shared weights by state-dict name. For a layer that the forward pass doesn't run, the error is that of
    the weight itself; a weight whose shape has changed is left out. The network is not changed.
    """
    state = original.state_dict()
    before = {n: state[n] for n, v in shared.items() if n in state and tuple(state[n].shape) == v.shape}
    sums = {name: np.zeros(2) for name in before}
    handles, types = [], {}
    for name, weight in before.items():
        owner, leaf = split_name(original, name)
        types[name] = type(owner).__name__
        made = torch.from_numpy(np.array(shared[name])).to(weight)
        handles.append(owner.register_forward_hook(_probe(leaf, weight, made, sums[name])))
    try:
        _outputs(original, inputs)
    finally:
        for handle in handles:
            handle.remove()
    found = {}
    for name, weight in before.items():
        error, size = sums[name]
        own = weight_error(weight.detach().cpu().numpy(), np.asarray(shared[name]))
        found[name] = OperatorError(decibels(error, size), types[name]) if size > 0 and np.isfinite(error) else own
    return found


def network_agreement(original: nn.Module, changed: nn.Module, inputs: Feed | NDArray[Any], text: str) -> Agreement:
    """Compare the outputs of two networks on the same inputs; `text` describes the inputs in the result."""
    runs = [[_outputs(model, inputs)] for model in (original, changed)]
    return compare(runs[0], runs[1], text, batch=count_of(as_feed(inputs)))


def _probe(leaf: str, weight: Tensor, made: Tensor, sums: NDArray[np.float64]) -> Any:
    """Return a hook that adds up two sums of squares: of the output's change with weight `made`, and of the product.

    The product is the layer's output without what it gives for a weight of zeros, such as the bias.
    """
    inside = [False]

    def hook(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if inside[0] or not isinstance(output, Tensor) or not output.is_floating_point():
            return
        inside[0] = True  # the calls below run this hook again
        try:
            other, nothing = (functional_call(module, {leaf: w}, given) for w in (made, torch.zeros_like(weight)))
        except Exception:  # a user's forward may raise anything; the error of the weight itself is reported then
            return
        finally:
            inside[0] = False
        sums[0] += float(((output - other).double() ** 2).sum())
        sums[1] += float(((output - nothing).double() ** 2).sum())

    return hook


def _outputs(model: nn.Module, inputs: Feed | NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return a network's outputs in evaluation mode, by name; the network's mode is restored."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            found = called(model, mapped(as_feed(inputs), lambda tensor: tensor.to(device_of(model))))
    finally:
        model.train(training)
    return {name: tensor.float().cpu().numpy() for name, tensor in flat_outputs(found).items()}
