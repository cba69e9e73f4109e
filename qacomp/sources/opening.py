"""Open whatever a caller gives as a model (path, module, state dict, ONNX model) as a Source for the pipeline."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from qacomp.batches.examples import Examples
from qacomp.checkpoints import Checkpoint, named_as
from qacomp.checkpoints.tensors import dense_state
from qacomp.datasets import chosen_spec
from qacomp.errors import CheckpointError, ConfigError
from qacomp.evaluation.samples import Given
from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.graphs.reading import OnnxFile, parse_onnx
from qacomp.models import model_info
from qacomp.models.plain_modules import plain_module
from qacomp.options.config import CompressConfig
from qacomp.options.network import NO_ARCHITECTURE
from qacomp.sources.how_to_read import Reading, naming
from qacomp.sources.module_network import network_of, with_examples
from qacomp.sources.network import build_network, whole_weights
from qacomp.sources.onnx_source import OnnxSource
from qacomp.sources.own_network import is_own, own_network
from qacomp.sources.reading import read_model
from qacomp.sources.recognized import recognized
from qacomp.sources.tensor_source import TensorSource
from qacomp.sources.torch_source import Source, TorchSource


def open_model(
    model: Any, data: Any, config: CompressConfig, how: Reading, note: Callable[[str], None]
) -> tuple[Source, CompressConfig, Examples | Given | None]:
    """Open a model that isn't a folder; see `qacomp.sources.open_any`."""
    origin = checkpoint_of(
        model,
        trust_pickle=how.trust_pickle,
        inputs=() if is_own(config.arch) else config.input,
        submodule=config.submodule,
        key=config.key,
    )
    given = data if data is not None else config.data
    if isinstance(origin, OnnxFile):
        return OnnxSource(origin), naming(config, given), given
    if origin.kind != "module" and config.arch is None:
        origin = with_plain_module(origin)
    origin = recognized(origin, config.arch)
    if origin.kind != "module" and (config.arch == NO_ARCHITECTURE or (config.arch or origin.arch) is None):
        if given is not None:
            note("the data is not used: without an architecture (--arch) there is no network to train or to measure")
        return TensorSource(origin), naming(config, given), None
    if given is None:
        given, remark = chosen_spec(None, origin.data)
        origin = origin if remark is None else replace(origin, notes=(*origin.notes, remark))
    config = naming(config, given)
    if is_own(config.arch) and origin.kind != "module":
        return _of_own(origin, config, given, how.input_shape)
    if origin.kind == "module":
        source, examples = _of_module(origin, config, given, how.input_shape)
        return _noted(source, examples), config, examples
    arch = config.arch or origin.arch
    assert arch is not None
    model_info(arch, told=config.arch is None)
    origin = named_as(whole_weights(origin), arch)
    network = build_network(origin, config)
    assert network is not None
    network, examples = with_examples(network, given)
    return _noted(TorchSource(origin, network), examples), config, examples


def _of_module(
    origin: Checkpoint, config: CompressConfig, given: Any, shape: tuple[int, int, int] | None
) -> tuple[Source, Examples | None]:
    """Return a module's network as a source, or its tensors alone if its input shape isn't known; and the data."""
    network, examples = network_of(origin.module, config, given, shape)
    if network is not None:
        return TorchSource(replace(origin, notes=(*origin.notes, *float32_notes(origin.state))), network), examples
    remark = (
        "the shape of the module's input is unknown, so only its weights are compressed; give data, or the shape of "
        "its input (--input; from Python also input_shape)"
    )
    return TensorSource(replace(origin, notes=(*origin.notes, remark))), None


def _of_own(
    origin: Checkpoint, config: CompressConfig, given: Any, shape: tuple[int, int, int] | None
) -> tuple[Source, CompressConfig, Examples | None]:
    """Return a state dict with a network class of the user's own; see `qacomp.sources.own_network`."""
    assert config.arch is not None
    origin, module = own_network(origin, config.arch)
    if config.input:
        return OnnxSource(_exported(module, origin, config.input, config.submodule)), config, given
    network, examples = network_of(module, config, given, shape)
    if network is None:
        raise ConfigError(f"--arch {config.arch}: the network's inputs are unknown; give --data, or --input")
    return _noted(TorchSource(origin, replace(network, arch=config.arch)), examples), config, examples


def _noted(source: Source, examples: Examples | None) -> Source:
    """Return the source with the remarks on how a user's own data was split."""
    notes = getattr(examples, "notes", ())
    if not notes or not isinstance(source, TorchSource):
        return source
    return replace(source, checkpoint=replace(source.checkpoint, notes=(*source.checkpoint.notes, *notes)))


def checkpoint_of(
    model: Any,
    *,
    trust_pickle: bool = False,
    inputs: Sequence[str] = (),
    submodule: str | None = None,
    key: str | None = None,
) -> Checkpoint | OnnxFile:
    """Read `model` if it is a path; make a checkpoint in memory of a module (kind "module") or a mapping of arrays.

    An ONNX file or ModelProto becomes an OnnxFile, and so does a module with `inputs` (see `read_model`). The digest of
    a checkpoint in memory is over names, dtypes, shapes and values. Raises ConfigError for a `key` without a file, and
    CheckpointError or a subclass for a model that can't be used.
    """
    if key is not None and not isinstance(model, str | os.PathLike):
        raise ConfigError(f"key = {key!r}: works with checkpoint files only; pass the state dict that you mean")
    if isinstance(model, Checkpoint | OnnxFile):
        return model
    if isinstance(model, str | os.PathLike):
        return read_model(Path(model), trust_pickle=trust_pickle, inputs=inputs, submodule=submodule, key=key)
    if type(model).__name__ == "ModelProto":
        return parse_onnx(model.SerializeToString(), Path("<ONNX model>"), "onnx")
    if isinstance(model, nn.Module):
        path = Path(f"<{type(model).__name__}>")
        plain = plain_module(model, path)
        state, left_out = _tensors(plain.module)
        checkpoint = replace(_in_memory(path, "module", state), module=plain.module, notes=(*plain.notes, *left_out))
        return _exported(plain.module, checkpoint, inputs, submodule) if inputs else checkpoint
    if isinstance(model, Mapping):
        return _in_memory(Path("<state dict>"), "state_dict", model)
    raise CheckpointError(
        f"can't compress a {type(model).__name__}; give a path, a module, a state dict or a Checkpoint"
    )


def float32_notes(state: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Return a note that names the float dtypes of a network other than float32; empty if all are float32."""
    others = {str(t.dtype).removeprefix("torch.") for t in state.values() if t.is_floating_point()} - {"float32"}
    return (f"{', '.join(sorted(others))}: the network is trained, measured and stored in float32",) if others else ()


@contextmanager
def own_torch_state() -> Iterator[None]:
    """Switch gradients on inside the block; afterwards restore torch's random state, on the CPU and on every GPU."""
    devices = range(torch.cuda.device_count())
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # no hooks run on it
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def with_plain_module(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint that holds a pickled module as kind "module", its parameters made plain (see `plain_module`).

    Any other checkpoint is returned as it is.
    """
    if checkpoint.module is None:
        return checkpoint
    plain = plain_module(checkpoint.module, checkpoint.path)
    state, left_out = _tensors(plain.module)
    total = sum(tensor.numel() * tensor.itemsize for tensor in state.values())
    notes = (*checkpoint.notes, *plain.notes, *left_out)
    dense = dense_state(checkpoint.path, state, total)
    return replace(checkpoint, kind="module", state=dense, module=plain.module, notes=notes)


def _tensors(module: nn.Module) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the tensors of a module's state dict, and a note that names its other entries."""
    state = module.state_dict()
    others = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    note = f"{', '.join(others[:4])}{', ...' if others[4:] else ''}: not a tensor, left out of the container"
    return {name: value for name, value in state.items() if name not in others}, [note] if others else []


def _exported(model: nn.Module, checkpoint: Checkpoint, inputs: Sequence[str], submodule: str | None) -> OnnxFile:
    from qacomp.sources.programs import export_module

    made = export_module(model, inputs, submodule, checkpoint.path, "exported module")
    return replace(made, digest=checkpoint.digest, bytes=checkpoint.bytes, notes=(*checkpoint.notes, *made.notes))


def tensor_of(array: Any) -> torch.Tensor:
    """Return an array as a tensor; the container's bfloat16 arrays become torch.bfloat16.

    Raises CheckpointError for a dtype that torch lacks.
    """
    if isinstance(array, torch.Tensor):
        return array
    values = np.asarray(array)
    if values.dtype == BFLOAT16:
        return torch.from_numpy(bfloat16_to_float32(values)).bfloat16()
    try:
        return torch.from_numpy(np.require(values, requirements=["C", "W"]))
    except TypeError as error:
        raise CheckpointError(f"an array of dtype {values.dtype} can't become a torch tensor; give numbers") from error


def _in_memory(path: Path, kind: str, state: Mapping[str, Any]) -> Checkpoint:
    tensors = {str(name): tensor_of(value) for name, value in state.items()}
    total = sum(t.numel() * t.itemsize for t in tensors.values())
    dense = dense_state(path, tensors, total)
    digest = hashlib.sha256()
    for name, tensor in dense.items():
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        plain = tensor.int_repr() if tensor.is_quantized else tensor
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return Checkpoint(path, kind, dense, None, None, None, None, digest.hexdigest(), total, ())
