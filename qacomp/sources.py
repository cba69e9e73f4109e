"""What a Python caller may hand over as a model, as the Checkpoint and the Network that the pipeline works on."""

import copy
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from qacomp.checkpoints import Checkpoint, check_finite
from qacomp.checkpoints.tensors import dense_state
from qacomp.config import CompressConfig
from qacomp.datasets import Dataset
from qacomp.errors import CheckpointError, ConfigError
from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.model_files import read_model
from qacomp.network import Network
from qacomp.onnx_graph import OnnxSource, parse_onnx
from qacomp.preprocessing import Preprocessing
from qacomp.preprocessing_choice import choose_preprocessing


def checkpoint_of(
    model: Any, *, trust_pickle: bool = False, inputs: Sequence[str] = (), submodule: str | None = None
) -> Checkpoint | OnnxSource:
    """A path is read; a module (kind "module") and a mapping of tensors or arrays become a checkpoint in memory.

    An ONNX file or ModelProto becomes an OnnxSource, and so does a module with `inputs` (see `read_model`).
    Its digest is that of names, dtypes, shapes and values. Raises CheckpointError and its kinds.
    """
    if isinstance(model, Checkpoint | OnnxSource):
        return model
    if isinstance(model, str | os.PathLike):
        return read_model(Path(model), trust_pickle=trust_pickle, inputs=inputs, submodule=submodule)
    if type(model).__name__ == "ModelProto":
        return parse_onnx(model.SerializeToString(), Path("<ONNX model>"), "onnx")
    if isinstance(model, nn.Module):
        checkpoint = _in_memory(Path(f"<{type(model).__name__}>"), "module", model.state_dict())
        return _exported(model, checkpoint, inputs, submodule) if inputs else replace(checkpoint, module=model)
    if isinstance(model, Mapping):
        return _in_memory(Path("<state dict>"), "state_dict", model)
    raise CheckpointError(
        f"can't compress a {type(model).__name__}; give a path, a module, a state dict or a Checkpoint"
    )


def _exported(model: nn.Module, checkpoint: Checkpoint, inputs: Sequence[str], submodule: str | None) -> OnnxSource:
    from qacomp.onnx_export.programs import export_module

    twin = copy.deepcopy(model).cpu()  # the caller's stays as it is, its training flags too
    made = export_module(twin, inputs, submodule, checkpoint.path, "exported module")
    return replace(made, digest=checkpoint.digest, bytes=checkpoint.bytes)


def network_of(
    model: Any, config: CompressConfig, dataset: Dataset | None, input_shape: tuple[int, int, int] | None
) -> Network | None:
    """A copy of a caller's own module as a Network, or None where neither data nor `input_shape` tell its input.

    `model` is an nn.Module. The input is that of the data's images in [0, 1]; the settings' size, mean and std change
    it. Raises ConfigError where the module doesn't give one row of class scores for an input of that shape.
    """
    shape = input_shape or (None if dataset is None else _image_shape(dataset))
    if shape is None:
        return None
    channels, height, width = shape
    plain = Preprocessing((height, width), channels, (0.0,) * channels, (1.0,) * channels)
    preprocessing = choose_preprocessing(config, plain)
    own = copy.deepcopy(model).cpu().eval()
    wanted = preprocessing.input_shape
    try:
        with torch.no_grad():
            scores = own(torch.zeros(2, *wanted))  # (2, classes)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{type(model).__name__} doesn't take an input (2, {wanted}): {reason}") from error
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or scores.shape[0] != 2:
        found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise ConfigError(f"{type(model).__name__} must give class scores (batch, classes), not {found}")
    return Network(own, type(model).__name__, scores.shape[1], wanted, preprocessing)


def tensor_of(array: Any) -> torch.Tensor:
    """An array as a tensor of its own; the formats' bfloat16 words become torch.bfloat16."""
    if isinstance(array, torch.Tensor):
        return array
    values = np.asarray(array)
    if values.dtype == BFLOAT16:
        return torch.from_numpy(bfloat16_to_float32(values)).bfloat16()
    try:
        return torch.from_numpy(np.require(values, requirements=["C", "W"]))
    except TypeError as error:
        raise CheckpointError(f"an array of {values.dtype} is no tensor of numbers") from error


def _image_shape(dataset: Dataset) -> tuple[int, int, int]:
    """(C, H, W) of the stored images, which are (N, H, W) or (N, H, W, C)."""
    _, height, width, *channels = dataset.train.x.shape
    return (channels[0] if channels else 1, height, width)


def _in_memory(path: Path, kind: str, state: Mapping[str, Any]) -> Checkpoint:
    tensors = {str(name): tensor_of(value) for name, value in state.items()}
    total = sum(t.numel() * t.itemsize for t in tensors.values())
    dense = dense_state(path, tensors, total)
    digest = hashlib.sha256()
    for name, tensor in dense.items():
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    checkpoint = Checkpoint(path, kind, dense, None, None, None, None, digest.hexdigest(), total, ())
    check_finite(checkpoint)
    return checkpoint
