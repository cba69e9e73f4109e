"""The real models of the ONNX suite: their own graphs, and weights-only files in the graph of the same network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from _onnx_inputs import CONTEXT, HOP
from numpy.typing import NDArray
from onnx import numpy_helper

from qacomp.api import compress
from qacomp.checkpoints import Checkpoint
from qacomp.errors import QacompError
from qacomp.exporting.onnx_model import onnx_model
from qacomp.formats import NotSharedError, SharedTensor, open_file
from qacomp.graphs.reading import OnnxFile
from qacomp.options.config import CompressConfig
from qacomp.sources.reading import read_model

AGREEMENT = 0.9999  # asked for at K = 256; a model that can be run gets it anyway
SILERO = "silero_vad_16k_op15.onnx"


@dataclass(frozen=True)
class Model:
    """A file of shared/ckpt. arch: of a state dict. input, submodule: of a TorchScript archive that is exported.

    shape: one example of the first input, where the graph leaves it open: silero takes frames of one length alone.
    """

    file: str
    arch: str | None = None
    input: tuple[str, ...] = ()
    submodule: str | None = None
    shape: tuple[int, ...] | None = None


_FRAME = (CONTEXT + HOP,)
MODELS = {
    "silero_onnx": Model(SILERO, shape=_FRAME),
    "silero_safetensors": Model("silero_vad_16k.safetensors", shape=_FRAME),
    "silero_jit": Model("silero_vad.jit", shape=_FRAME),
    "silero_jit_graph": Model("silero_vad.jit", input=("1,576", "2,1,128"), submodule="_model"),
    "dtln": Model("dtln_model_1.onnx"),
}
NETWORKS = {
    "resnet20": Model("resnet20_cifar10j.pth", arch="resnet20"),
    "resnet20_cifar10": Model("akamaster_resnet20-12fca82f.th", arch="resnet20"),
}
_SAFETENSORS = {
    "stft_conv.weight": "stft.forward_basis_buffer",
    "lstm_cell.": "decoder.rnn.",
    "final_conv.": "decoder.decoder.2.",
} | {f"conv{i + 1}.": f"encoder.{i}.reparam_conv." for i in range(4)}


@dataclass(frozen=True)
class Compressed:
    """A container's model: `original` and `dense` ONNX, the weights that stand in it, and what share of them is shared.

    `own_graph`: False for a file of weights alone: before and after, they run in the graph of silero's ONNX file.
    """

    original: onnx.ModelProto
    dense: onnx.ModelProto
    weights: dict[str, NDArray[Any] | SharedTensor]
    container_bytes: int
    coverage: float
    own_graph: bool


def read(model: Model, path: Path) -> Checkpoint | OnnxFile:
    """The model's file; a TorchScript archive with `input` comes with its graph."""
    return read_model(path, trust_pickle=bool(model.input), inputs=model.input, submodule=model.submodule)


def compressed(model: Model, path: Path, k: int, here: Path) -> Compressed:
    """Compress a model without data and read the container back."""
    container_path = here / "model.qac"
    agreement = AGREEMENT if k == 256 else None
    config = CompressConfig(k=k, arch=model.arch, min_agreement=agreement, input=model.input, submodule=model.submodule)
    source = read(model, path)
    compress(source, None, config, container_path)
    with open_file(container_path) as container:
        weights: dict[str, NDArray[Any] | SharedTensor] = {}
        for name in container.names:
            try:
                weights[name] = container.shared(name)
            except NotSharedError:
                weights[name] = container.tensor(name)
        has_graph = container.graph() is not None
        dense = onnx_model(container) if has_graph else None
    shared = sum(w.indices.size for w in weights.values() if isinstance(w, SharedTensor))
    floats = sum(_size(w) for w in weights.values())
    original = source.model if isinstance(source, OnnxFile) else onnx.load(path.with_name(SILERO))
    if dense is None:
        assert isinstance(source, Checkpoint)
        original = filled(original, _renamed({n: t.numpy() for n, t in source.state.items()}, original))
        weights = _renamed(weights, original)
        dense = filled(original, weights)
    named = {t.name for t in dense.graph.initializer}
    weights = {name: value for name, value in weights.items() if name in named}
    return Compressed(original, dense, weights, container_path.stat().st_size, shared / floats, has_graph)


def filled(model: onnx.ModelProto, weights: Mapping[str, NDArray[Any] | SharedTensor]) -> onnx.ModelProto:
    """A copy of `model` with these initializers' values."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    for tensor in twin.graph.initializer:
        value = weights.get(tensor.name)
        if value is not None:
            array = value.dense() if isinstance(value, SharedTensor) else value
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    return twin


def _renamed(
    weights: Mapping[str, NDArray[Any] | SharedTensor], model: onnx.ModelProto
) -> dict[str, NDArray[Any] | SharedTensor]:
    """Silero's weights under the names of its ONNX file; every initializer of the file must be found."""
    renamed = {}
    for name, value in weights.items():
        stem = name.removeprefix("_")
        for old, new in _SAFETENSORS.items():
            if stem.startswith(old):
                stem = f"model.{new}{stem.removeprefix(old)}"
        renamed[stem] = value
    wanted = {t.name: tuple(t.dims) for t in model.graph.initializer}
    missing = [name for name, shape in wanted.items() if name not in renamed or _shape(renamed[name]) != shape]
    if missing:
        raise QacompError(f"no weights for {missing[0]} of {SILERO}")
    return renamed


def _shape(value: NDArray[Any] | SharedTensor) -> tuple[int, ...]:
    return value.indices.shape if isinstance(value, SharedTensor) else value.shape


def _size(value: NDArray[Any] | SharedTensor) -> int:
    if isinstance(value, SharedTensor):
        return value.indices.size
    return value.size if value.dtype.kind == "f" else 0
