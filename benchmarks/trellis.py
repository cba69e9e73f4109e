"""Measure what rounding on a trellis saves of ResNet-20 at equal output error: eight states beside uniform grids.

512 unlabelled training images give the moments, others the error; both ways of rounding, and the codecs, are those of
the product. Without the shared folder there are no rows.
"""

from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np
import torch
from _papers_training import known_spec
from numpy.typing import NDArray
from result import Headline, Row, shared_folder

from qacomp.calibration.torch_model import TorchCalibration
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import load_dataset
from qacomp.options.config import CompressConfig
from qacomp.rate.compensation import factorized
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import WeightOnGrid
from qacomp.sharing.share import Packed
from qacomp.sources.network import build_network
from qacomp.stages.size_of import tensor_bytes

_CALIBRATED, _MEASURED = 512, 2000  # images
_SCALES = (0.05, 0.06, 0.07, 0.08, 0.09)
_Error = Callable[[dict[str, NDArray[Any]]], float]


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """Round at each scale in both ways; nothing is drawn but the images."""
    shared = shared_folder()
    if shared is None:
        return [], {}
    network = build_network(read_checkpoint(shared / "ckpt" / "resnet20_cifar10j.pth"), CompressConfig(arch="resnet20"))
    assert network is not None
    split = load_dataset(known_spec("cifar10j")).train
    split = split.take(np.random.default_rng(0).permutation(len(split))[: _CALIBRATED + _MEASURED])
    images = torch.from_numpy(network.preprocessing.apply(split.x))
    model = network.model.eval()
    weights = {n: p.detach().numpy() for n, p in model.named_parameters() if p.dim() > 1}
    moments = TorchCalibration(model, images[:_CALIBRATED], "", 0).moments(
        {name: w.shape for name, w in weights.items()}, lambda: None
    )
    error = _error_of(model, images[_CALIBRATED:])
    on_grid = {
        name: WeightOnGrid(weight, moments[name].view, factorized(moments[name].values))
        for name, weight in weights.items()
    }
    steps = _steps(model, list(weights), images[:128])
    uniform = RateSharing(on_grid, steps, {name: w.dtype for name, w in weights.items()}, "fp16", {})
    ways = {"uniform": uniform, "trellis": uniform.on_trellis()}
    rows: dict[str, dict[str, list[float]]] = {}
    for scale in _SCALES:
        for kind, sharing in ways.items():
            start = process_time()
            items = sharing.at(scale)
            told = {"seconds": process_time() - start, **_measured(items, error)}
            for key, value in told.items():
                rows.setdefault(kind, {}).setdefault(key, []).append(value)
    note = "mean over the scales of the bytes of all weights, those of uniform grids interpolated at the trellis' KL "
    note += "divergence from the original; whole files without biases and norms"
    slower = sum(rows["trellis"]["seconds"]) / sum(rows["uniform"]["seconds"])
    return [Row(kind, f"ResNet-20, {kind}", {"scales": _SCALES}, dict(found)) for kind, found in rows.items()], {
        "trellis_saves_bytes": Headline(_saved(rows["uniform"], rows["trellis"]), "%", "> 4", note),
        "trellis_rounding_slower": Headline(slower, "x", "reported", "CPU seconds of rounding, beside uniform grids"),
    }


def _steps(model: torch.nn.Module, names: list[str], images: torch.Tensor) -> dict[str, float]:
    """Return steps ∝ (mean squared gradient)^−½, labels drawn from the network itself; their geometric mean is 1."""
    generator, squares = torch.Generator().manual_seed(0), dict.fromkeys(names, 0.0)
    for image in images.split(1):
        scores = model(image)
        label = torch.multinomial(scores.detach().softmax(1), 1, generator=generator)[:, 0]
        model.zero_grad()
        torch.nn.functional.cross_entropy(scores, label).backward()
        for name in names:
            gradient = model.get_parameter(name).grad
            assert gradient is not None
            squares[name] += float((gradient**2).mean())
    logs = {name: -0.5 * np.log(value) for name, value in squares.items()}
    return {name: float(np.exp(value - np.mean(list(logs.values())))) for name, value in logs.items()}


def _error_of(model: torch.nn.Module, images: torch.Tensor) -> _Error:
    """Return what computes the mean KL divergence of the outputs with other weights from the original's, in nats."""

    def outputs(changed: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            parts = [torch.func.functional_call(model, changed, (part,)) for part in images.split(500)]
        return torch.cat(parts).log_softmax(1)

    wanted = outputs({})

    def error(values: dict[str, NDArray[Any]]) -> float:
        found = outputs({name: torch.from_numpy(value).float() for name, value in values.items()})
        return float((wanted.exp() * (wanted - found)).sum(1).mean())

    return error


def _measured(items: dict[str, Packed], error: _Error) -> dict[str, float]:
    """Return the bytes of a file of all weights, and the error of the network with them."""
    return {
        "bytes": tensor_bytes(items, CompressConfig()),
        "kl": error({name: item.dense() for name, item in items.items()}),
    }


def _saved(uniform: dict[str, list[float]], trellis: dict[str, list[float]]) -> float:
    """Return the percentage of bytes saved, over the trellis' points whose error lies between those of the grids."""
    kl, size = np.log(uniform["kl"]), np.log(uniform["bytes"])
    inside = [i for i, k in enumerate(trellis["kl"]) if min(uniform["kl"]) <= k <= max(uniform["kl"])]
    equal = [float(np.exp(np.interp(np.log(trellis["kl"][i]), kl, size))) for i in inside]
    return float(np.mean([100 * (1 - trellis["bytes"][i] / e) for i, e in zip(inside, equal, strict=True)]))
