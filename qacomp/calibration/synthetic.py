"""Generate images for a network from its batch norms: noise is optimized until it gives their running statistics.

ZeroQ (Cai et al., 2020), DeepInversion (Yin et al., 2020): no data is needed, only running means and variances.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from qacomp.batches.feed import moved
from qacomp.calibration.channel_statistics import channel_statistics
from qacomp.evaluation.on_batches import Forward, device_of

STEPS = 120
"""Steps of Adam, as many as fit the time that a compression without data may take."""
_BATCH = 128  # images that are optimized together, so that their joint statistics match
_LEARNING_RATE = 0.1  # of Adam; with 0.2 and shorter memory 60 steps met the statistics as well, but tuned worse
_LOUDNESS = 2.0  # factor on the smoothed noise that images start from
_EPSILON = 1e-5  # added to a variance that is divided by


@dataclass(frozen=True)
class Synthetic:
    """images: (count, C, H, W) float32, scaled as the network's inputs; loss: of the last step, mean over norms."""

    images: Tensor
    loss: float


class KeptImages(Protocol):
    """Holds the batches of images that are made."""

    def load(self) -> list[Synthetic]:
        """Return those of an earlier run."""
        ...

    def save(self, made: list[Synthetic]) -> None:
        """Hold these."""
        ...


def has_statistics(model: nn.Module) -> bool:
    """Return whether a network has batch norms with running statistics."""
    return bool(batch_norms(model))


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms with running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def synthetic_images(
    model: nn.Module,
    shape: Sequence[int],
    count: int,
    seed: int,
    advance: Callable[[], None],
    kept: KeptImages | None = None,
) -> Synthetic:
    """Return images that give the batch norms of `model` inputs with their running statistics.

    shape: of one image, (C, H, W). The model must be in evaluation mode, and isn't changed; the same seed gives the
    same images, and fewer images are the first of more. advance: called after each of STEPS steps of each batch of 128;
    kept: holds the batches that are made, so that an interrupted run goes on there.
    """
    generator = torch.Generator().manual_seed(seed)
    made = kept.load() if kept else []
    for number, start in enumerate(range(0, count, _BATCH)):
        noise = torch.randn(min(_BATCH, count - start), *shape, generator=generator)
        if number < len(made):
            for _ in range(STEPS):
                advance()
            continue
        made.append(_moved(model, noise, advance))
        if kept:
            kept.save(made)
    return Synthetic(torch.cat([m.images for m in made]), sum(m.loss for m in made) / max(1, len(made)))


def _moved(model: nn.Module, noise: Tensor, advance: Callable[[], None]) -> Synthetic:
    smooth = F.avg_pool2d(noise, 3, 1, 1) if min(noise.shape[2:]) >= 3 else noise
    images = moved(smooth * _LOUDNESS, device_of(model)).requires_grad_(True)
    run = Forward(model)
    optimizer = torch.optim.Adam([images], lr=_LEARNING_RATE)
    norms = batch_norms(model)
    found: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, given: tuple[Any, ...], _: Any) -> None:
        found[module] = given[0]

    handles = [norm.register_forward_hook(keep) for norm in norms]
    flags = [(p, p.requires_grad) for p in model.parameters()]
    for p, _ in flags:
        p.requires_grad_(False)  # only the images get gradients
    loss = torch.zeros(())
    try:
        for _ in range(STEPS):
            optimizer.zero_grad()
            run(images)
            loss = torch.stack([_distance(norm, found[norm]) for norm in norms if norm in found]).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            advance()
    finally:
        for handle in handles:
            handle.remove()
        for p, wanted in flags:
            p.requires_grad_(wanted)
    return Synthetic(images.detach().contiguous(), float(loss.detach()) / max(1, len(norms)))


def _distance(norm: _BatchNorm, given: Tensor) -> Tensor:
    """Return the squared distance of a batch's statistics from a norm's, over the variances: mean over channels."""
    assert norm.running_mean is not None and norm.running_var is not None
    mean, variance = channel_statistics(given)
    deviation = variance.clamp_min(_EPSILON**2).sqrt()
    wanted = norm.running_var.clamp_min(0).sqrt()
    squares = (mean - norm.running_mean) ** 2 + (deviation - wanted) ** 2
    return (squares / (norm.running_var + _EPSILON)).mean()
