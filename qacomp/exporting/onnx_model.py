"""Make the ONNX model of a container in memory: its graph with dense weights. Doesn't need torch."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qacomp.errors import ConfigError
from qacomp.exporting.operating_points import find_point, tensors_at
from qacomp.formats import Container
from qacomp.graphs.metadata import ORIGINAL, TOGETHER, metadata

if TYPE_CHECKING:
    from onnx import ModelProto

METADATA_KEY = "qacomp"
_EXPORTED_BY = {
    "torchscript": ("a TorchScript archive", "--trust-pickle and --input SHAPE"),
    "exported program": ("a torch.export archive", "--trust-pickle"),
    "module": ("a module", "--data or --input SHAPE"),
}


def onnx_model(container: Container, level: int | None = None, submodel: str | None = None) -> "ModelProto":
    """Return a container's graph with its tensors; a network's metadata tell how to prepare its inputs.

    level: index of a level, 0 for the coarsest; submodel: name of an operating point; by default the largest one in the
    file. Raises ConfigError if there is no graph or no such sub-model, and FormatError for a damaged graph.
    """
    from qacomp.graphs.skeleton import join
    from qacomp.graphs.submodels import finalize, only_output, output_names, weight_names
    from qacomp.graphs.weightless import attach_weights

    graph, source = container.graph(), container.source
    if graph is None:
        raise ConfigError(f"{source}: has weights but no graph{_why_no_graph(container)}; use -o NAME.safetensors")
    if is_original(container):
        if submodel is not None:
            level = find_point(container, submodel, source).level
        return join(graph, lambda name: container.tensor(name, level=level), source)
    outputs, output = output_names(graph, source), None
    if submodel is not None:
        point = find_point(container, submodel, source)
        level, output = point.level if point.output is None else level, point.output
    if len(outputs) > 1 and metadata(container).get("graph") != TOGETHER:
        graph = only_output(graph, output or outputs[-1], source)
        model = attach_weights(graph, tensors_at(container, level, weight_names(graph)), source=source)
        finalize(model, source)
    else:
        model = attach_weights(graph, tensors_at(container, level), ignore_extra=True, source=source)
    feed = {key: metadata(container).get(key) for key in ("preprocessing", "data", "input_shape", "num_classes")}
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(feed, sort_keys=True))
    return model


def is_original(container: Container) -> bool:
    """Return whether the container holds the graph of an original ONNX model, not one that qacomp exported."""
    return metadata(container).get("graph") == ORIGINAL


def _why_no_graph(container: Container) -> str:
    """Return, in brackets, why there is no graph and how to get one."""
    origin = metadata(container).get("source")
    kind = str(origin.get("kind")) if isinstance(origin, Mapping) else ""
    if kind not in _EXPORTED_BY:
        return " (compressed without --arch)"
    archive, how = _EXPORTED_BY[kind]
    return f" ({archive}, compressed without its graph; to get one, compress it again with {how})"
