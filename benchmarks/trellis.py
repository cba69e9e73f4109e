"""Measure what rounding on a trellis saves of ResNet-20 at equal output error: eight states beside uniform grids.

512 unlabelled training images give the moments, others the error; both ways of rounding, the tuning after them on the
same 512 images, and the codecs, are those of the product. Without the shared folder there are no rows.
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
from qacomp.calibration.tuning import tune_small
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import load_dataset
from qacomp.formats import SharedTensor
from qacomp.models.plain_modules import copied
from qacomp.options.config import CompressConfig
from qacomp.rate.compensation import factorized
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import WeightOnGrid
from qacomp.sharing.share import Packed, in_own_dtype
from qacomp.sources.network import build_network
from qacomp.stages.size_of import tensor_bytes
from qacomp.training.parametrizations.grid import share_weight_on_grid
from qacomp.training.parametrizations.shared import share_weight, shared_tensor

_CALIBRATED, _MEASURED = 512, 2000  # images
_SCALES = (0.05, 0.06, 0.07, 0.08, 0.09)
_TUNED = {"uniform": (0.06, 0.08), "trellis": (0.08,)}  # the error of the trellis lies between those of the grids
Error = Callable[[dict[str, NDArray[Any]]], float]


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """Round at each scale in both ways, and tune at a few; a seed is that of the tuning."""
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
    error = error_of(model, images[_CALIBRATED:])
    on_grid = {
        name: WeightOnGrid(weight, moments[name].view, factorized(moments[name].values))
        for name, weight in weights.items()
    }
    steps = gradient_steps(model, list(weights), images[:128])
    uniform = RateSharing(on_grid, steps, {name: w.dtype for name, w in weights.items()}, "fp16", {})
    ways = {"uniform": uniform, "trellis": uniform.on_trellis()}
    rows: dict[str, dict[str, list[float]]] = {}
    for scale in _SCALES:
        for kind, sharing in ways.items():
            start = process_time()
            items = sharing.at(scale)
            told = {"seconds": process_time() - start, **measured(items, error)}
            for key, value in told.items():
                rows.setdefault(kind, {}).setdefault(key, []).append(value)
    for kind, sharing in ways.items():
        for scale in _TUNED[kind]:
            for key, value in _tuned(model, sharing.at(scale), images, error, seeds).items():
                rows.setdefault(f"{kind}, tuned", {}).setdefault(key, []).append(value)
    note = "mean over the scales of the bytes of all weights, those of uniform grids interpolated at the trellis' KL "
    note += "divergence from the original; whole files without biases and norms"
    after = f"the same after tuning of norms, biases and shared values; {seeds} seeds"
    slower = sum(rows["trellis"]["seconds"]) / sum(rows["uniform"]["seconds"])
    scales = {kind: _TUNED.get(kind.removesuffix(", tuned"), ()) if "tuned" in kind else _SCALES for kind in rows}
    described = [Row(kind, f"ResNet-20, {kind}", {"scales": scales[kind]}, dict(found)) for kind, found in rows.items()]
    saved = bytes_saved(rows["uniform, tuned"], rows["trellis, tuned"])
    return described, {
        "trellis_saves_bytes": Headline(bytes_saved(rows["uniform"], rows["trellis"]), "%", "> 4", note),
        "trellis_saves_bytes_tuned": Headline(saved, "%", "> 4", after),
        "trellis_rounding_slower": Headline(slower, "x", "reported", "CPU seconds of rounding, beside uniform grids"),
    }


def _tuned(
    model: torch.nn.Module, items: dict[str, Packed], images: torch.Tensor, error: Error, seeds: int
) -> dict[str, float]:
    """Return bytes and error as `measured` does, after tuning on the calibration images; means over the seeds."""
    found = []
    for seed in range(seeds):
        network = copied(model)
        for name, item in items.items():
            value = item.value
            assert isinstance(value, SharedTensor)
            if value.blocks is None:
                share_weight(network, name, value.codebook, value.indices)
            else:
                share_weight_on_grid(network, name, value)
        tune_small(network, model, images[:_CALIBRATED], seed, lambda: None, lambda changed, optimizer: None)
        packed = {name: _repacked(shared_tensor(network, name)) for name in items}
        rest = {n: v.numpy() for n, v in network.state_dict().items() if n in model.state_dict() and n not in items}
        values = rest | {name: item.dense() for name, item in packed.items()}
        found.append({"bytes": float(tensor_bytes(packed, CompressConfig())), "kl": error(values)})
    return {key: float(np.mean([each[key] for each in found])) for key in found[0]}


def _repacked(shared: SharedTensor) -> Packed:
    """Return tuned values as a file holds them: those of one grid exactly, others in half precision."""
    return in_own_dtype(shared, np.dtype(np.float32), "fp16", shared.blocks is None)


def gradient_steps(model: torch.nn.Module, names: list[str], images: torch.Tensor) -> dict[str, float]:
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


def error_of(model: torch.nn.Module, images: torch.Tensor) -> Error:
    """Return what computes the mean KL divergence of the outputs with other weights from the original's, in nats."""

    def outputs(changed: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            parts = [torch.func.functional_call(model, changed, (part,)) for part in images.split(500)]
        return torch.cat(parts).log_softmax(1)

    wanted = outputs({})

    def error(values: dict[str, NDArray[Any]]) -> float:
        found = outputs({name: torch.from_numpy(value) for name, value in values.items()})
        return float((wanted.exp() * (wanted - found)).sum(1).mean())

    return error


def measured(items: dict[str, Packed], error: Error) -> dict[str, float]:
    """Return the bytes of a file of all weights, and the error of the network with them."""
    return {
        "bytes": tensor_bytes(items, CompressConfig()),
        "kl": error({name: item.dense() for name, item in items.items()}),
    }


def bytes_saved(usual: dict[str, list[float]], better: dict[str, list[float]]) -> float:
    """Return the percentage of bytes saved, over the better way's points whose error lies between the usual ones'."""
    kl, size = np.log(usual["kl"]), np.log(usual["bytes"])
    inside = [i for i, k in enumerate(better["kl"]) if min(usual["kl"]) <= k <= max(usual["kl"])]
    equal = [float(np.exp(np.interp(np.log(better["kl"][i]), kl, size))) for i in inside]
    return float(np.mean([100 * (1 - better["bytes"][i] / e) for i, e in zip(inside, equal, strict=True)]))
