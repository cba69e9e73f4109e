"""A network as a dense ONNX model whose initializers are its weights, bit for bit, under their state-dict names.

The exporter's own optimization folds batch norms into convolutions, which turns K shared values a layer into
K × channels, and renames what it touches. So weights are made graph inputs while onnxscript optimizes: what isn't a
constant can't be folded, and shape arithmetic, zero biases and no-ops still go. Afterwards they are initializers again.
"""

from __future__ import annotations

import contextlib
import io
import logging
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.utils import parametrize

from qacomp.errors import ExportError
from qacomp.graphs.canonical import canonicalize
from qacomp.graphs.submodels import OUTPUT
from qacomp.models.flexible import FlexibleModel
from qacomp.models.plain_modules import copied
from qacomp.models.weight_places import tied_names

OPSET = 18  # what torch's operator library is written in; onnxruntime has it since 1.14
IR_VERSION = 8  # the one that came with opset 18
INPUT = "input"


def export_dense(model: nn.Module, input_shape: tuple[int, ...], *, all_submodels: bool = False) -> onnx.ModelProto:
    """Export `model` in eval mode; the model itself is left untouched.

    Each parameter and buffer that the forward pass reads is an initializer of its state-dict name; of tied parameters
    the first name stands for all (see `tied_names`), and parameters that forward never reads aren't in the graph.
    Running statistics that `fold_statistics` made constant are the graph's own constants, one a width. The same
    network gives the same bytes in every process.

    Args:
        model: a network from (N, *input_shape) to one tensor, float32.
        input_shape: one example's shape without the batch axis, such as (C, H, W).
        all_submodels: give a flexible model's graph an output for each sub-model, of its name, in place of `logits`;
            `qacomp.graphs.submodels` cuts one of them out.

    Returns:
        A checked model of opset 18 with input `input` (batch, *input_shape) and output `logits`, batch dynamic.

    Raises:
        ExportError: the exporter can't trace the network, or it isn't float32, or is still parametrized.
    """
    _refuse_unexportable(model)
    twin = copied(model).cpu().eval()
    state = {name: tensor.detach() for name, tensor in twin.state_dict(keep_vars=True).items()}
    example = torch.zeros(2, *input_shape)  # batch 2, since torch.export takes 1 for a constant
    outputs: tuple[str, ...] = (OUTPUT,)
    if all_submodels:
        if not isinstance(twin, FlexibleModel):
            raise ExportError("the network has no sub-models to export")
        outputs = twin.submodel_names
        twin.forward = types.MethodType(_forward_all, twin)
    with quietly():
        proto = _traced(twin, example, state, outputs)
    return _finished(proto, twin, state, outputs)


def _forward_all(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(model.forward_all(x))


def _refuse_unexportable(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            raise ExportError(
                f"module {name or 'model'!r} is parametrized: bake its weights in first "
                "(torch.nn.utils.parametrize.remove_parametrizations)"
            )
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ExportError(f"tensor {name!r} is {tensor.dtype}, the export wants float32: call model.float() first")


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep the exporter's prints, warnings and log lines from the user."""
    before, sink = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _traced(
    twin: nn.Module, example: torch.Tensor, state: dict[str, torch.Tensor], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    """Trace and optimize; the result has the state's tensors as inputs, without data."""
    import onnxscript.optimizer
    from onnxscript import ir

    try:
        program: Any = torch.onnx.export(
            twin,
            (example,),
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
        graph = program.model.graph
        for name in [name for name in graph.initializers if name in state]:
            weight = graph.initializers.pop(name)
            weight.const_value = None
            graph.inputs.append(weight)
        onnxscript.optimizer.optimize(program.model)
        proto: onnx.ModelProto = ir.serde.serialize_model(program.model)
    except Exception as e:  # the exporter raises whatever its many layers raise
        raise ExportError(
            f"the network can't be exported to ONNX for input {tuple(example.shape)[1:]} with a dynamic batch axis "
            f"({_cause(e)}): check the input shape, and that forward takes one tensor and has no branch on data"
        ) from e
    return proto


def _cause(e: BaseException) -> str:
    """Return the first line of the innermost error: the outer ones are the exporter's own story."""
    while e.__cause__ is not None:
        e = e.__cause__
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    return f"{type(e).__name__}: {lines[0][:200]}" if lines else type(e).__name__


def _finished(
    proto: onnx.ModelProto, twin: nn.Module, state: dict[str, torch.Tensor], names: tuple[str, ...]
) -> onnx.ModelProto:
    graph = proto.graph
    outputs = list(graph.output)
    if len(outputs) != len(names):
        raise ExportError(f"the network has {len(outputs)} outputs, the export takes one: wrap it to give its logits")
    constants = _constant_statistics(state)
    tied = tied_names(twin)
    used = {name for n in graph.node for name in n.input}
    inputs = [v for v in graph.input if v.name not in state]
    if len(inputs) != 1:
        raise ExportError(f"the network takes {len(inputs)} inputs, the export takes one")
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
    """Return the names of running statistics that are all 0 or all 1, as `fold_statistics` leaves them."""
    neutral = {"running_mean": 0.0, "running_var": 1.0}
    return {
        name
        for name, tensor in state.items()
        if (value := neutral.get(name.rpartition(".")[2])) is not None and bool((tensor == value).all())
    }


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.contiguous().numpy()
