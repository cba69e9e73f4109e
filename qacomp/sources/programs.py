"""Export a user's program to ONNX: a module, a TorchScript archive or a torch.export archive.

The export runs the program's code, so it is only for files whose author is trusted.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from qacomp.errors import CheckpointError, ConfigError, ExportError
from qacomp.graphs.canonical import clear_annotations
from qacomp.graphs.constants import default_opset
from qacomp.graphs.network import quietly
from qacomp.graphs.reading import OnnxFile, parse_onnx
from qacomp.runtime.agreement import run_feed
from qacomp.runtime.session import open_session
from qacomp.sources.example_inputs import ExampleInput, parse_inputs

_TOLERANCE = 1e-3  # relative to the largest output: onnxruntime has other kernels, which sum in another order


def export_archive(path: Path) -> OnnxFile:
    """Load a .pt2 file and export it with the input names, dtypes and free axes that it was saved with.

    `torch.export.load` evaluates expressions of the file: never call this for a file from a stranger. Raises
    ExportError if torch can't load or export it.
    """
    try:
        with quietly():
            exported = torch.onnx.export(torch.export.load(path), dynamo=True, verbose=False)
        assert exported is not None
        model = exported.model_proto
    except Exception as error:  # torch raises many kinds of errors here
        raise ExportError(f"{path}: torch can't export it to ONNX ({_line(error)})") from error
    clear_annotations(model)
    return _of_file(_source(_serialized(model, path), path, "exported program", "a torch.export archive"), path)


def export_torchscript(path: Path, specs: Sequence[str], submodule: str | None) -> OnnxFile:
    """Load a TorchScript archive and export it; see `export_module`.

    The archive's code runs: never call this for a file from a stranger. Raises CheckpointError if torch can't load it.
    """
    try:
        with quietly():
            module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:
        raise CheckpointError(f"{path}: torch.jit.load fails ({_line(error)})") from error
    return _of_file(export_module(module, specs, submodule, path, "torchscript"), path)


def export_module(module: nn.Module, specs: Sequence[str], submodule: str | None, path: Path, kind: str) -> OnnxFile:
    """Export a module, scripted or not, in eval mode, for inputs of these shapes (see `parse_inputs`).

    submodule: the dotted name of the part to export, None for the whole module; path: names the module in messages.
    The exported model is run beside the module on two sets of inputs, with other sizes of the free axes in the second.
    So a forward that keeps state between calls, or branches on its input, is refused. Raises ConfigError for specs
    and names that don't fit, ExportError if torch can't export the module or the outputs differ.
    """
    inputs = parse_inputs(specs)
    part = _part(module, submodule, path).eval()
    rng = np.random.default_rng(0)
    first = tuple(entry.drawn(rng) for entry in inputs)
    wanted = _called(part, first, path)
    scripted = isinstance(part, torch.jit.ScriptModule)
    try:
        with quietly():
            export = _scripted if scripted else _traced
            model = export(part, inputs, first, len(wanted))
    except Exception as error:
        raise ExportError(f"{path}: torch can't export it to ONNX ({_line(error)})") from error
    clear_annotations(model)
    data = _serialized(model, path)
    _check_free(model, inputs, path)
    second = tuple(entry.drawn(rng, longer=1) for entry in inputs)
    for arguments in (first, second):
        _compare(data, part, arguments, path)
    what = "a TorchScript archive" if kind == "torchscript" else f"a module ({type(module).__name__})"
    return _source(data, path, kind, what if submodule is None else f"{submodule} of {what}")


def _part(module: nn.Module, submodule: str | None, path: Path) -> nn.Module:
    part: Any = module
    for name in submodule.split(".") if submodule else ():
        part = dict(part.named_children()).get(name)  # a ScriptModule has no get_submodule
        if part is None:
            names = [name for name, _ in module.named_children()]
            raise ConfigError(f"--submodule {submodule}: {path} has no such part; its parts are {', '.join(names)}")
    assert isinstance(part, nn.Module)
    return part


def _called(part: nn.Module, arguments: tuple[torch.Tensor, ...], path: Path) -> list[torch.Tensor]:
    """Return forward's outputs as a flat list. Raise ConfigError if it fails, ExportError if an output is no tensor."""
    try:
        with torch.no_grad(), quietly():
            given = part(*arguments)
    except Exception as error:
        shapes = ", ".join(str(tuple(a.shape)) for a in arguments)
        raise ConfigError(f"--input: {path}: forward fails on inputs of shapes {shapes} ({_line(error)})") from error
    flat = _flat(given)
    if not flat or not all(isinstance(value, torch.Tensor) for value in flat):
        raise ExportError(f"{path}: forward must return only tensors; name a part that does with --submodule")
    return flat


def _flat(given: Any) -> list[Any]:
    """Return nested outputs, such as an LSTM's (y, (h, c)), as one flat list, in the order of the graph's outputs."""
    parts = list(given.values()) if isinstance(given, dict) else given
    return [value for part in parts for value in _flat(part)] if isinstance(parts, tuple | list) else [parts]


def _traced(
    part: nn.Module, inputs: tuple[ExampleInput, ...], arguments: tuple[torch.Tensor, ...], outputs: int
) -> onnx.ModelProto:
    dims = {name: torch.export.Dim(name) for entry in inputs for name in entry.names.values()}
    shapes = tuple({axis: dims[name] for axis, name in entry.names.items()} for entry in inputs)
    exported = torch.onnx.export(part, arguments, dynamo=True, verbose=False, dynamic_shapes=shapes if dims else None)
    assert exported is not None
    model: onnx.ModelProto = exported.model_proto
    return model


def _scripted(
    part: Any, inputs: tuple[ExampleInput, ...], arguments: tuple[torch.Tensor, ...], outputs: int
) -> onnx.ModelProto:
    """Export with torch's older exporter, since torch.export doesn't accept a ScriptModule."""
    names = [argument.name for argument in part.forward.schema.arguments[1 : len(inputs) + 1]]
    results = ["output"] if outputs == 1 else [f"output{number}" for number in range(outputs)]
    free = {name: entry.names for name, entry in zip(names, inputs, strict=True) if entry.names}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            part, arguments, file, dynamo=False, input_names=names, output_names=results, dynamic_axes=free
        )
        return onnx.load(file)


def _check_free(model: onnx.ModelProto, inputs: tuple[ExampleInput, ...], path: Path) -> None:
    """Raise ExportError if torch exported a free axis with a fixed size."""
    for value, entry in zip(model.graph.input, inputs, strict=False):
        sizes = value.type.tensor_type.shape.dim
        for axis, name in entry.names.items():
            if sizes[axis].HasField("dim_value"):
                fixed = sizes[axis].dim_value
                raise ExportError(
                    f"{path}: torch exports the free axis {name} of input {value.name} with the fixed size {fixed}; "
                    f"write {fixed} instead of {name} in --input"
                )


def _compare(model: bytes, part: nn.Module, arguments: tuple[torch.Tensor, ...], path: Path) -> None:
    """Raise ExportError if onnxruntime's outputs for the exported model differ from the module's."""
    wanted = [value.detach().double().numpy() for value in _called(part, arguments, path)]
    session = open_session(model)
    names = [entry.name for entry in session.get_inputs()]
    known = [f"{argument.dtype}".removeprefix("torch.") + str(tuple(argument.shape)) for argument in arguments]
    if len(names) != len(arguments):
        raise ExportError(
            f"{path}: forward takes {len(arguments)} inputs ({', '.join(known)}), but the exported graph reads only "
            f"{names}; remove the inputs that forward doesn't use"
        )
    found = list(run_feed(session, dict(zip(names, (a.numpy() for a in arguments), strict=True))).values())
    if len(found) != len(wanted):
        raise ExportError(
            f"{path}: forward returns {len(wanted)} tensors, but the exported graph {len(found)}; name a part with "
            "--submodule"
        )
    for a, b in zip(found, wanted, strict=True):
        if a.shape != b.shape:
            raise ExportError(
                f"{path}: an output has shape {b.shape} in PyTorch, but {a.shape} in onnxruntime; name a part with "
                "--submodule"
            )
        off = np.abs(a.astype(np.float64) - b).max(initial=0.0)
        if not off <= _TOLERANCE * max(1.0, float(np.abs(b).max(initial=0))):
            raise ExportError(
                f"{path}: onnxruntime's outputs differ from PyTorch's by up to {off:.2g}; if forward keeps state "
                "between calls or branches on its inputs, name a part that doesn't with --submodule"
            )


def _source(data: bytes, path: Path, kind: str, what: str) -> OnnxFile:
    source = parse_onnx(data, path, kind)
    return replace(source, notes=(f"{what}, exported to ONNX with opset {default_opset(source.model)}", *source.notes))


def _serialized(model: onnx.ModelProto, path: Path) -> bytes:
    try:
        data: bytes = model.SerializeToString()
    except Exception as error:  # protobuf's error classes differ between its implementations
        raise ExportError(
            f"{path}: its ONNX model exceeds protobuf's limit of 2 GB for one message; export it with "
            "torch.onnx.export(..., external_data=True), and compress that file"
        ) from error
    return data


def _of_file(source: OnnxFile, path: Path) -> OnnxFile:
    """Return the source with the SHA-256 and the size of the file `path`, which it was exported from."""
    content = path.read_bytes()
    return replace(source, digest=hashlib.sha256(content).hexdigest(), bytes=len(content))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
