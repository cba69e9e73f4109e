"""Export a network to a dense ONNX model whose initializers are its exact weights with their state-dict names.

The optimizer of the exporter folds batch norms into convolutions, which turns the K shared values of a layer into K ×
channels, and renames weights. So weights are graph inputs while onnxscript optimizes: it can't fold them, but still
removes shape arithmetic, zero biases and no-ops. Afterwards they become initializers again.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.utils import parametrize

from qacomp.batches.feed import tensors_of
from qacomp.batches.outputs import flat_outputs
from qacomp.errors import ExportError
from qacomp.graphs.canonical import canonicalize
from qacomp.graphs.export_inputs import ExportInputs
from qacomp.graphs.submodels import OUTPUT
from qacomp.models.flexible import FlexibleModel
from qacomp.models.plain_modules import copied
from qacomp.models.weight_places import tied_names

OPSET = 18  # the opset of torch's operator library; onnxruntime supports it since 1.14
IR_VERSION = 8  # the IR version that came with opset 18


def export_dense(
    model: nn.Module, inputs: tuple[int, ...] | ExportInputs, *, all_submodels: bool = False
) -> onnx.ModelProto:
    """Export `model` in eval mode; the model itself isn't changed.

    Each parameter and buffer that the forward pass reads becomes an initializer with its state-dict name. Tied
    parameters become one initializer with the first of their names (see `tied_names`). Parameters that the forward pass
    doesn't read aren't in the graph. Running statistics that `fold_statistics` made constant become constants of the
    graph, one for each width. The same network gives the same bytes in every process.

    Args:
        model: a float32 network that returns a tensor, or several in a tuple or by name.
        inputs: the shape of one example without the batch axis, such as (C, H, W), or example inputs.
        all_submodels: give the graph of a flexible model one output for each sub-model, with its name, instead of
            `logits`; `qacomp.graphs.submodels` cuts out one of them.

    Returns:
        A checked model of opset 18 with a dynamic batch axis. A single input is called `input`, a single output
        `logits`; several have the names of forward's arguments and of its results, or `output0`, ...

    Raises:
        ExportError: the exporter can't trace the network, or the network isn't float32 or is parametrized.
    """
    _refuse_unexportable(model)
    twin = copied(model).cpu().eval()
    state = {name: tensor.detach() for name, tensor in twin.state_dict(keep_vars=True).items()}
    example = inputs if isinstance(inputs, ExportInputs) else ExportInputs.of_shape(inputs)
    outputs: tuple[str, ...] = (OUTPUT,)
    if all_submodels:
        if not isinstance(twin, FlexibleModel):
            raise ExportError("the network has no sub-models to export; export it as an ordinary network")
        outputs = twin.submodel_names
        twin.forward = types.MethodType(_forward_all, twin)
    else:
        found = _result(twin, example)
        outputs = tuple(flat_outputs(found)) or outputs
        if not isinstance(found, torch.Tensor | None) or len(example.names) > 1:
            twin.forward = _in_order(twin.forward, example)
    with quietly():
        proto = _traced(twin, example, state, outputs)
    return _finished(proto, twin, state, (example.names, outputs))


def _result(twin: nn.Module, example: ExportInputs) -> Any:
    """Return what a network gives for the examples; None if it fails, since the exporter says why."""
    with contextlib.suppress(Exception), torch.no_grad():
        return example.call(twin)
    return None


def _in_order(plain: Any, example: ExportInputs) -> Any:
    """Return a forward that takes the inputs in order, and returns a tensor, or all tensors of the result as a tuple.

    What isn't a tensor, such as a cache of keys and values, is left out.
    """

    def forward(*tensors: torch.Tensor) -> Any:
        named = dict(zip(example.names, tensors, strict=True)) if isinstance(example.feed, dict) else {}
        found = plain(**named) if named else plain(*tensors)
        return found if isinstance(found, torch.Tensor) else tuple(flat_outputs(found).values())

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    forward.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in example.names])  # type: ignore[attr-defined]
    return forward


def _forward_all(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(model.forward_all(x))


def _refuse_unexportable(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            raise ExportError(
                f"module {name or 'model'!r} is parametrized; make its weights plain first, with "
                "torch.nn.utils.parametrize.remove_parametrizations"
            )
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ExportError(f"tensor {name!r} is {tensor.dtype}, the export needs float32; call model.float() first")


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Hide the prints, warnings and log lines of the exporter."""
    before, sink = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _traced(
    twin: nn.Module, example: ExportInputs, state: dict[str, torch.Tensor], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    """Trace the network and optimize the graph, in which the state's tensors are inputs, without data."""
    import onnxscript.optimizer
    from onnxscript import ir

    try:
        program: Any = torch.onnx.export(
            twin,
            tensors_of(example.feed),
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=OPSET,
            input_names=list(example.names),
            output_names=list(outputs),
            dynamic_shapes=example.dynamic_shapes(),
        )
        graph = program.model.graph
        for name in [name for name in graph.initializers if name in state]:
            weight = graph.initializers.pop(name)
            weight.const_value = None
            graph.inputs.append(weight)
        onnxscript.optimizer.optimize(program.model)
        proto: onnx.ModelProto = ir.serde.serialize_model(program.model)
    except Exception as e:  # the exporter may raise anything
        raise ExportError(
            f"the network can't be exported to ONNX for input {example} with a dynamic batch axis "
            f"({_cause(e)}); check the input shape, and that forward doesn't branch on data"
        ) from e
    return proto


def _cause(e: BaseException) -> str:
    """Return the first line of the innermost error, which has the reason; outer ones only name the exporter's steps."""
    while e.__cause__ is not None:
        e = e.__cause__
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    return f"{type(e).__name__}: {lines[0][:200]}" if lines else type(e).__name__


def _finished(
    proto: onnx.ModelProto,
    twin: nn.Module,
    state: dict[str, torch.Tensor],
    names: tuple[Sequence[str], Sequence[str]],
) -> onnx.ModelProto:
    """Turn weights from inputs into initializers, and check the model. names: of the inputs and of the outputs."""
    graph = proto.graph
    outputs = list(graph.output)
    if len(outputs) != len(names[1]):
        raise ExportError(f"the network has {len(outputs)} outputs, but the export needs {len(names[1])}: wrap it")
    constants = _constant_statistics(state)
    tied = tied_names(twin)
    used = {name for n in graph.node for name in n.input}
    inputs = [v for v in graph.input if v.name not in state]
    if len(inputs) != len(names[0]):
        unread = ", ".join(sorted(set(names[0]) - {v.name for v in inputs})) or "some"
        raise ExportError(
            f"the network uses {len(inputs)} of its {len(names[0])} inputs ({unread} isn't read); leave it out of the "
            "batches, or give --input"
        )
    weights = [tied.get(v.name, v.name) for v in graph.input if v.name in state and v.name in used]
    graph.ClearField("input")
    graph.input.extend(inputs)
    for n in graph.node:
        n.input[:] = [tied.get(name, name) for name in n.input]
    for name in dict.fromkeys(weights):
        graph.initializer.append(numpy_helper.from_array(_array(state[name]), name))
    kept = [name for name in state if name not in constants]
    canonicalize(proto, kept, opset=OPSET, ir_version=IR_VERSION)
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as e:
        raise ExportError(f"the ONNX checker refuses the exported graph: {' '.join(str(e).split())[:200]}") from e
    return proto


def _constant_statistics(state: dict[str, torch.Tensor]) -> set[str]:
    """Return the names of running means that are all 0 and variances that are all 1, as after `fold_statistics`."""
    neutral = {"running_mean": 0.0, "running_var": 1.0}
    return {
        name
        for name, tensor in state.items()
        if (value := neutral.get(name.rpartition(".")[2])) is not None and bool((tensor == value).all())
    }


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.contiguous().numpy()
