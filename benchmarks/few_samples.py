"""Measure how much a few calibration images are worth: ResNet-20 rounded with moments of 8 to 128 images.

The product's moments, which are shrunk where samples are few, beside plain second moments of the same images; steps,
rounding and codecs are the same. Other images of the training part give the error. Without the shared folder there are
no rows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from _papers_training import known_spec
from numpy.typing import NDArray
from result import Headline, Results, Row, shared_folder, spread
from trellis import Error, bytes_saved, error_of, gradient_steps, measured

from qacomp.calibration.layer_inputs import columns, second_moment
from qacomp.calibration.torch_model import TorchCalibration
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import load_dataset
from qacomp.options.config import CompressConfig
from qacomp.rate.calibrated import Moment
from qacomp.rate.compensation import factorized
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import WeightOnGrid
from qacomp.sources.network import build_network

COUNTS, _MEASURED = (8, 16, 32, 128), 2000  # calibration images; others
_PLAIN = (0.03, 0.045, 0.06, 0.08)  # scales of the steps; the error of 8 images is far above that of 128
_SHRUNK = (0.045, 0.06)


def run(size: str, seeds: int) -> Results:
    """Round with the moments of each number of images; a seed draws the images."""
    shared = shared_folder()
    if shared is None:
        return [], {}
    network = build_network(read_checkpoint(shared / "ckpt" / "resnet20_cifar10j.pth"), CompressConfig(arch="resnet20"))
    assert network is not None
    train, model = load_dataset(known_spec("cifar10j")).train, network.model.eval()
    rows: list[Row] = []
    headlines: dict[str, Headline] = {}
    for count in COUNTS:
        found = []
        for seed in range(seeds):
            split = train.take(np.random.default_rng(seed).permutation(len(train))[: count + _MEASURED])
            images = torch.from_numpy(network.preprocessing.apply(split.x))
            found.append(_rounded(model, images[:count], error_of(model, images[count:])))
        saved = [bytes_saved(each["plain"], each["shrunk"]) for each in found]
        rows.append(Row(f"images_{count}", f"ResNet-20, {count} images", {"scales": _PLAIN}, {"points": found}))
        headlines[f"few_samples_{count}"] = Headline(
            float(np.mean(saved)),
            "%",
            "> 5" if count == COUNTS[0] else "> -1",
            f"fewer bytes of all weights at equal KL divergence from the original with shrunk moments of {count} "
            f"images than with plain ones; {seeds} seeds",
            spread(saved),
        )
    return rows, headlines


def _rounded(model: torch.nn.Module, images: torch.Tensor, error: Error) -> dict[str, dict[str, list[float]]]:
    """Return bytes and error at each scale, with plain and with shrunk moments."""
    weights = {n: p.detach().numpy() for n, p in model.named_parameters() if p.dim() > 1}
    names = {name: weight.shape for name, weight in weights.items()}
    shrunk = TorchCalibration(model, images, "", 0).moments(names, lambda: None)
    plain = _plain_moments(model, images, names)
    steps = gradient_steps(model, list(weights), images[:128])
    found: dict[str, dict[str, list[float]]] = {}
    for kind, scales in (("plain", _PLAIN), ("shrunk", _SHRUNK)):
        moments: Mapping[str, Any] = plain if kind == "plain" else {n: m.values for n, m in shrunk.items()}
        sharing = _sharing(weights, shrunk, moments, steps)
        for scale in scales:
            for key, value in measured(sharing.at(scale), error).items():
                found.setdefault(kind, {}).setdefault(key, []).append(value)
    return found


def _sharing(
    weights: Mapping[str, NDArray[Any]],
    known: Mapping[str, Moment],
    moments: Mapping[str, NDArray[np.float64]],
    steps: Mapping[str, float],
) -> RateSharing:
    """Return the weights on uniform grids, compensated by moments."""
    on_grid = {n: WeightOnGrid(w, known[n].view, factorized(moments[n])) for n, w in weights.items()}
    return RateSharing(on_grid, steps, {name: w.dtype for name, w in weights.items()}, "fp16", {})


def _plain_moments(
    model: torch.nn.Module, images: torch.Tensor, names: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[np.float64]]:
    """Return the plain mean of x xᵀ over all windows, for each layer."""
    found: dict[str, NDArray[np.float64]] = {}

    def keeper(name: str) -> Any:
        def keep(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            taken = columns(module, given[0])
            found[name] = (second_moment(taken) / taken.shape[2]).numpy()

        return keep

    handles = [
        module.register_forward_pre_hook(keeper(f"{name}.weight"))
        for name, module in model.named_modules()
        if f"{name}.weight" in names
    ]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return found
