"""Architectures by name; each file of `families` registers some. Listing them never imports torch."""

from typing import TYPE_CHECKING

from qacomp.errors import ConfigError
from qacomp.models.registry import MODELS, ModelInfo, register_model

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MODELS", "ModelInfo", "create_model", "list_models", "model_info", "register_model"]


def list_models() -> list[str]:
    """Return the names of all architectures: a family's in the order of size, those of other packages last."""
    return MODELS.names()


def model_info(name: str, *, told: bool = False) -> ModelInfo:
    """Return input shape, classes and preprocessing of an architecture.

    told: the name comes from a file, so no other installed package is imported for it. Raises
    `UnknownArchitectureError`, which lists the known architectures.
    """
    return MODELS.find(name, told=told)[0]


def create_model(name: str, num_classes: int | None = None) -> "nn.Module":
    """Build an architecture with random weights, drawn by torch's global generator.

    num_classes: None for the architecture's default. The module maps (N, C, H, W) float32 to (N, num_classes) logits.
    Raises `UnknownArchitectureError`, and `ConfigError` for fewer than two classes.
    """
    info, build = MODELS.find(name)
    classes = info.num_classes if num_classes is None else num_classes
    if classes < 2:
        raise ConfigError(f"{name}: a classifier needs at least 2 classes, not {classes}")
    return build(classes)
