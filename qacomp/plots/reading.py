"""Read the layers of a file for drawing: of a container with qacomp.formats alone, of a checkpoint with torch."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import NonFiniteWeightsError
from qacomp.formats import BFLOAT16, Container, bfloat16_to_float32, open_file
from qacomp.plots.histogram import LayerWeights, layer_weights, shared_weights

_MAGIC = b"\x93QAC"
Wanted = Callable[[str], bool]


def layer_pattern(patterns: Sequence[str]) -> Wanted:
    """Return a test of tensor names: does the name, or the name without `.weight`, match a pattern? No pattern: all."""
    return lambda name: (
        not patterns or any(fnmatchcase(name, p) or fnmatchcase(name.removesuffix(".weight"), p) for p in patterns)
    )


def read_layers(
    path: Path, wanted: Wanted, *, trust_pickle: bool = False, key: str | None = None
) -> dict[str, LayerWeights]:
    """Read the tensors whose name is `wanted`, in the file's order, and return their weights by name.

    Reads shared tensors, and float tensors with two or more axes; empty tensors are left out. Raises FormatError for a
    bad container, CheckpointError for a bad checkpoint, NonFiniteWeightsError for NaN and infinite values, OSError.
    """
    try:
        if path.is_file() and (path.suffix == ".qac" or _magic(path) == _MAGIC):
            with open_file(path) as container:
                return {n: _from_container(container, n) for n in container.names if wanted(n) and _drawn(container, n)}
        return _from_checkpoint(path, wanted, trust_pickle, key)
    except NonFiniteWeightsError as error:
        raise error if str(path) in str(error) else NonFiniteWeightsError(f"{path}: {error}") from error


def _magic(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(len(_MAGIC))


def _drawn(container: Container, name: str) -> bool:
    info = container.info(name)
    number = info.dtype == "bfloat16" or info.dtype.startswith("float")
    return info.values > 0 and (info.k is not None or (number and len(info.shape) >= 2))


def _from_container(container: Container, name: str) -> LayerWeights:
    info = container.info(name)
    if info.k is None:
        return layer_weights(name, _numbers(container.tensor(name)))
    if info.blocks is not None:  # too many codebooks to draw their values one by one
        return layer_weights(name, _numbers(container.tensor(name)))
    shared = container.shared(name)
    return shared_weights(name, info.shape, _numbers(shared.codebook), shared.indices)


def _from_checkpoint(path: Path, wanted: Wanted, trust_pickle: bool, key: str | None) -> dict[str, LayerWeights]:
    from qacomp.checkpoints import read_checkpoint

    layers = {}
    for name, tensor in read_checkpoint(path, trust_pickle=trust_pickle, key=key).state.items():
        if tensor.is_floating_point() and tensor.ndim >= 2 and tensor.numel() and wanted(name):
            wide = tensor if tensor.element_size() >= 4 else tensor.float()  # numpy lacks bfloat16
            layers[name] = layer_weights(name, wide.numpy())
    return layers


def _numbers(array: NDArray[Any]) -> NDArray[np.floating]:
    return bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
