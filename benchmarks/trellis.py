"""Measure what rounding on a trellis would save of ResNet-20 at equal output error: eight states beside uniform grids.

512 unlabelled training images give the moments, others the error. A trial for a decision, no part of the product:
files have no codec for it. Without the shared folder there are no rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _papers_training import known_spec
from _trellis import MOST, multiples, on_trellis
from numpy.typing import NDArray
from result import Headline, Row, shared_folder

from qacomp.calibration.torch_model import TorchCalibration
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import load_dataset
from qacomp.formats.codecs.base import CODECS, Stream
from qacomp.options.config import CompressConfig
from qacomp.rate.compensation import Factor, compensated, factorized
from qacomp.rate.matrices import View
from qacomp.sources.network import build_network

_CALIBRATED, _MEASURED = 512, 2000  # images
_SCALES = (0.05, 0.06, 0.07, 0.08, 0.09)
_FINER = 0.62  # of the uniform step: about the same error
_PRICE = 0.02  # of a bit; a higher price gives more error at equal bytes
_Rounded = tuple[NDArray[np.int64], NDArray[np.int64] | None]
_Error = Callable[[dict[str, NDArray[Any]]], float]


@dataclass(frozen=True)
class _Layer:
    """Hold a weight with what its rounding takes. step: at scale 1."""

    weight: NDArray[np.float64]
    view: View
    factor: Factor
    step: float


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
    weights = {n: p.detach().double().numpy() for n, p in model.named_parameters() if p.dim() > 1}
    moments = TorchCalibration(model, images[:_CALIBRATED], "", 0).moments(
        {name: w.shape for name, w in weights.items()}, lambda: None
    )
    steps = _steps(model, list(weights), images[:128])
    error = _error_of(model, images[_CALIBRATED:])
    layers = {
        name: _Layer(weight, moments[name].view, factorized(moments[name].values), steps[name])
        for name, weight in weights.items()
    }
    rows: dict[str, dict[str, list[float]]] = {}
    for scale in _SCALES:
        for kind in ("uniform", "trellis"):
            told = _measured(kind, scale, layers, error)
            for key, value in told.items():
                rows.setdefault(kind, {}).setdefault(key, []).append(value)
    saved = {key: _saved(rows["uniform"], rows["trellis"], key) for key in ("entropy", "context")}
    note = "mean over the scales, bytes of uniform grids interpolated at the trellis' KL divergence from the original; "
    return [Row(kind, f"ResNet-20, {kind}", {"scales": _SCALES}, dict(found)) for kind, found in rows.items()], {
        "trellis_saves_by_state": Headline(
            saved["entropy"], "%", "reported", note + "entropies, the trellis' by quantizer"
        ),
        "trellis_saves_today": Headline(
            saved["context"], "%", "reported", note + "today's context codec, which doesn't know the states"
        ),
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


def _measured(kind: str, scale: float, layers: dict[str, _Layer], error: _Error) -> dict[str, float]:
    """Return the bytes by entropy and by the context codec, and the error, of all weights at one scale."""
    values, integers, entropy = {}, {}, 0.0
    for name, layer in layers.items():
        matrices, step = layer.view.matrices(layer.weight), scale * layer.step
        if kind == "uniform":
            found: _Rounded = compensated(matrices, layer.factor, step)[0], None
            dense = found[0] * step
        else:
            step *= _FINER
            found = _converged(matrices[0], layer.factor, step)
            assert found[1] is not None
            dense = multiples(*found) * step
        entropy += _entropy(*found)
        values[name] = layer.view.tensor(dense[None], layer.weight.shape)
        integers[name] = layer.view.tensor(found[0][None], layer.weight.shape)
    return {"entropy": round(entropy / 8), "context": _context_bytes(integers), "kl": error(values)}


def _converged(weights: NDArray[np.float64], factor: Factor, step: float) -> _Rounded:
    """Return the path on the trellis whose integers are priced by how often they come, after two rounds."""
    start = np.rint(weights / (2 * step)).astype(np.int64)
    bits = np.stack([_bits(start)] * 2)
    for _ in range(2):
        integers, quantizers = on_trellis(weights, factor, step, _PRICE, bits)
        bits = np.stack([_bits(integers[quantizers == q]) for q in (0, 1)])
    return integers, quantizers


def _bits(integers: NDArray[np.int64]) -> NDArray[np.float64]:
    counts = np.bincount(np.clip(integers, -MOST, MOST).reshape(-1) + MOST, minlength=2 * MOST + 1) + 0.05
    found: NDArray[np.float64] = -np.log2(counts / counts.sum())
    return found


def _entropy(integers: NDArray[np.int64], quantizers: NDArray[np.int64] | None) -> float:
    """Return the order-0 entropy in bits, of each quantizer's integers by themselves."""
    parts = [integers] if quantizers is None else [integers[quantizers == q] for q in (0, 1)]
    counts = [np.unique(part, return_counts=True)[1] for part in parts]
    return float(sum(-(c * np.log2(c / c.sum())).sum() for c in counts))


def _context_bytes(integers: dict[str, NDArray[np.int64]]) -> int:
    """Return the bytes of all integers under the context codec, one stream for each tensor."""
    parts, streams = [], []
    for tensor in integers.values():
        found, places = np.unique(tensor, return_inverse=True)
        parts.append(places.reshape(-1).astype(np.uint8))
        streams.append(Stream("indices", tensor.size, len(found), shape=tensor.shape))
    codec = next(codec for codec in CODECS.values() if codec.name == "context")
    coded = codec.encode(parts, streams)
    assert coded is not None
    return len(coded)


def _saved(uniform: dict[str, list[float]], trellis: dict[str, list[float]], key: str) -> float:
    """Return the percentage of bytes saved, over the trellis' points whose error lies between those of the grids."""
    kl, size = (np.log(uniform["kl"]), np.log(uniform[key]))
    inside = [i for i, k in enumerate(trellis["kl"]) if min(uniform["kl"]) <= k <= max(uniform["kl"])]
    equal = [float(np.exp(np.interp(np.log(trellis["kl"][i]), kl, size))) for i in inside]
    return float(np.mean([100 * (1 - trellis[key][i] / e) for i, e in zip(inside, equal, strict=True)]))
