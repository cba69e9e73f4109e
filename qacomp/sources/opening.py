"""Open whatever a caller gives as a model (path, module, state dict, ONNX model) as a Source for the pipeline."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from qacomp.checkpoints import Checkpoint, named_as
from qacomp.checkpoints.tensors import dense_state
from qacomp.datasets import Dataset, chosen_spec, dataset_from_arrays, load_dataset
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.datasets.preprocessing_choice import choose_preprocessing
from qacomp.errors import CheckpointError, ConfigError
from qacomp.evaluation.samples import Given
from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.graphs import OnnxFile, parse_onnx
from qacomp.models import model_info
from qacomp.models.plain_modules import copied, plain_module
from qacomp.options.config import CompressConfig
from qacomp.sources.network import Network, build_network, whole_weights
from qacomp.sources.onnx_source import OnnxSource
from qacomp.sources.reading import read_model
from qacomp.sources.tensor_source import TensorSource
from qacomp.sources.torch_source import Source, TorchSource


@dataclass(frozen=True)
class Reading:
    """How to read a model. `trust_pickle`: may run code of its pickle; `input_shape`: (C, H, W) of a module's input."""

    trust_pickle: bool = False
    input_shape: tuple[int, int, int] | None = None


def open_source(
    model: Any, data: Given | None, config: CompressConfig, how: Reading, note: Callable[[str], None]
) -> tuple[Source, CompressConfig, Given | None]:
    """Open `model`; return (source, `config` with the spec of the data that is used, that data).

    data: the caller's data; None: the data that `config` names, else built-in data that the checkpoint names. A PyTorch
    network's data is returned loaded, an ONNX model's as it was given, and bare tensors use none. Raises the errors of
    reading models and data, and ConfigError for a module that doesn't fit the data.
    """
    origin = checkpoint_of(
        model, trust_pickle=how.trust_pickle, inputs=config.input, submodule=config.submodule, key=config.key
    )
    given = data if data is not None else config.data
    if isinstance(origin, OnnxFile):
        return OnnxSource(origin), _naming(config, given), given
    if origin.kind != "module" and config.arch is None:
        origin = with_plain_module(origin)
    if origin.kind != "module" and (config.arch or origin.arch) is None:
        if given is not None:
            note("the data is not used: without an architecture (--arch) there is no network to train or to measure")
        return TensorSource(origin), _naming(config, given), None
    if given is None:
        given, remark = chosen_spec(None, origin.data)
        origin = origin if remark is None else replace(origin, notes=(*origin.notes, remark))
    dataset, config = _dataset(given), _naming(config, given)
    if origin.kind == "module":
        return _of_module(origin, config, dataset, how.input_shape), config, dataset
    arch = config.arch or origin.arch
    assert arch is not None
    model_info(arch, told=config.arch is None)
    origin = named_as(whole_weights(origin), arch)
    network = build_network(origin, config)
    assert network is not None
    return TorchSource(origin, network), config, dataset


def _of_module(
    origin: Checkpoint, config: CompressConfig, dataset: Dataset | None, shape: tuple[int, int, int] | None
) -> Source:
    """Return a module's network as a source, or its tensors alone if its input shape isn't known."""
    network = network_of(origin.module, config, dataset, shape)
    if network is not None:
        return TorchSource(replace(origin, notes=(*origin.notes, *float32_notes(origin.state))), network)
    remark = (
        "the shape of the module's input is unknown, so only its weights are compressed; give data, or the shape of "
        "its input (--input; from Python also input_shape)"
    )
    return TensorSource(replace(origin, notes=(*origin.notes, remark)))


def _naming(config: CompressConfig, given: Given | None) -> CompressConfig:
    """Return the settings with `data` set to the spec that is used; unchanged for data in memory, which has no spec."""
    return config if isinstance(given, Mapping | Dataset) else config.with_settings({"data": given}, "data")


def _dataset(given: Given | None) -> Dataset | None:
    if given is None or isinstance(given, Dataset):
        return given
    return load_dataset(given) if isinstance(given, str) else dataset_from_arrays(given)


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
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices):
        yield


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


def network_of(
    model: Any, config: CompressConfig, dataset: Dataset | None, input_shape: tuple[int, int, int] | None
) -> Network | None:
    """Return a float32 copy of a caller's nn.Module as a Network; None if its input shape is unknown.

    The shape (C, H, W) is `input_shape`, else that of the data's images. Images in [0, 1] are fed without
    normalization, unless --preprocess gives it. Raises ConfigError if the module doesn't return one row
    of class scores for each example of that shape.
    """
    shape = input_shape or (None if dataset is None else _image_shape(dataset))
    if shape is None:
        return None
    channels, height, width = shape
    plain = Preprocessing((height, width), channels, (0.0,) * channels, (1.0,) * channels)
    preprocessing = choose_preprocessing(config, plain)
    if isinstance(model, torch.jit.ScriptModule):
        raise ConfigError(
            f"{type(model).__name__}: a scripted module has no layers to train; give the module that it was made from, "
            "or leave the data out and give --input, the shapes that its forward takes"
        )
    own = copied(model).cpu().float().eval()
    wanted = preprocessing.input_shape
    try:
        with torch.no_grad():
            scores = own(torch.zeros(2, *wanted))  # (2, classes)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{type(model).__name__} fails on an input of shape {(2, *wanted)}: {reason}") from error
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or scores.shape[0] != 2:
        found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise ConfigError(f"{type(model).__name__} must return class scores (batch, classes), but it returns {found}")
    return Network(own, type(model).__name__, scores.shape[1], wanted, preprocessing)


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


def _image_shape(dataset: Dataset) -> tuple[int, int, int]:
    """Return (C, H, W) of the stored images, which are (N, H, W) or (N, H, W, C)."""
    _, height, width, *channels = dataset.train.x.shape
    return (channels[0] if channels else 1, height, width)


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
