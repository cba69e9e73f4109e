"""Architectures by name: every file of `families` registers its own; listing them never imports torch."""

from typing import TYPE_CHECKING

from qacomp.errors import ConfigError
from qacomp.models.registry import MODELS, ModelInfo, register_model

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MODELS", "ModelInfo", "create_model", "list_models", "model_info", "register_model"]


def list_models() -> list[str]:
    """Return the architectures' names, in the order of their sizes within a family, those of other packages last."""
    return MODELS.names()


def model_info(name: str, *, told: bool = False) -> ModelInfo:
    """Return shapes, classes and preprocessing of an architecture. Raise `UnknownArchitectureError` (lists the known).

    told: the name is a file's word, for which no installed package is imported.
    """
    return MODELS.find(name, told=told)[0]


def create_model(name: str, num_classes: int | None = None) -> "nn.Module":
    """Build an architecture with fresh weights (torch's global generator); `num_classes` defaults to the family's.

    The module takes (N, C, H, W) float32 and gives (N, num_classes) logits. Raises `UnknownArchitectureError`,
    and `ConfigError` for fewer than two classes.
    """
    info, build = MODELS.find(name)
    classes = info.num_classes if num_classes is None else num_classes
    if classes < 2:
        raise ConfigError(f"{name}: a classifier needs at least 2 classes, not {classes}")
    return build(classes)
