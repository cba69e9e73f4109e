"""Architectures by name. Every file of this folder registers its family; listing them never imports torch."""

import difflib
import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

from qacomp.errors import ConfigError, UnknownArchitectureError
from qacomp.models.registry import BUILDERS, INFOS, ModelInfo, register_model

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ModelInfo", "create_model", "list_models", "model_info", "register_model"]


def list_models() -> list[str]:
    """Names of the registered architectures, in the order of their sizes within a family."""
    _register_families()
    return list(INFOS)


def model_info(name: str) -> ModelInfo:
    """Shapes, classes and preprocessing of an architecture; `UnknownArchitectureError` names the known ones."""
    _register_families()
    if name not in INFOS:
        close = difflib.get_close_matches(name, INFOS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UnknownArchitectureError(f"unknown architecture {name!r}: {hint}known are {', '.join(INFOS)}")
    return INFOS[name]


def create_model(name: str, num_classes: int | None = None) -> "nn.Module":
    """Build an architecture with fresh weights (torch's global generator); `num_classes` defaults to the family's.

    The module takes (N, C, H, W) float32 and gives (N, num_classes) logits. Raises `UnknownArchitectureError`,
    and `ConfigError` for fewer than two classes.
    """
    info = model_info(name)
    classes = info.num_classes if num_classes is None else num_classes
    if classes < 2:
        raise ConfigError(f"{name}: a classifier needs at least 2 classes, not {classes}")
    return BUILDERS[name](classes)


@functools.cache
def _register_families() -> None:
    for found in pkgutil.iter_modules(__path__):
        if not found.name.startswith("_") and found.name != "registry":
            importlib.import_module(f"{__name__}.{found.name}")
