"""Real weights for the codec and container suites: the shared checkpoints, clustered per layer on a line."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor

CHECKPOINTS = {
    "resnet20_cifar10j": "resnet20_cifar10j.pth",
    "akamaster_resnet20": "akamaster_resnet20-12fca82f.th",
    "silero_vad_16k": "silero_vad_16k.safetensors",
}


def tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All float tensors of a checkpoint by name."""
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return dict(load_file(path))
    import torch

    state = torch.load(path, weights_only=True, map_location="cpu")
    state = state.get("state_dict", state)
    return {k.removeprefix("module."): v.numpy() for k, v in state.items() if v.is_floating_point()}


def cluster(weights: NDArray[Any], k: int, rounds: int = 30) -> SharedTensor:
    """Lloyd's k-means on the sorted weights from their quantiles: the same for every codec that is compared."""
    ordered = np.sort(weights.ravel().astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    book = np.quantile(ordered, (np.arange(k) + 0.5) / k)
    for _ in range(rounds):
        cuts = np.concatenate([[0], np.searchsorted(ordered, (book[1:] + book[:-1]) / 2), [len(ordered)]])
        sizes = np.diff(cuts)
        book = np.where(sizes > 0, np.diff(sums[cuts]) / np.maximum(sizes, 1), book)
    book = np.sort(book).astype(np.float32)
    indices = np.searchsorted((book[1:] + book[:-1]) / 2, weights).astype(np.uint8)
    return SharedTensor(book, indices)


def shared_layers(path: Path, k: int) -> dict[str, SharedTensor]:
    """Every tensor of two or more axes, clustered."""
    return {name: cluster(array, k) for name, array in tensors(path).items() if array.ndim >= 2}


def entropy_bytes(layers: dict[str, SharedTensor]) -> float:
    """Sum of the layers' order-0 entropies, in bytes, with nothing counted for tables."""
    total = 0.0
    for layer in layers.values():
        counts = np.bincount(layer.indices.ravel())
        counts = counts[counts > 0]
        total -= float((counts * np.log2(counts / layer.indices.size)).sum())
    return total / 8
