"""The registry of architectures, a decorated function each; torch is imported only when a model is built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import UnknownArchitectureError
from qacomp.options.registry import Registry, described

if TYPE_CHECKING:
    from torch import nn

    Builder = Callable[[int], nn.Module]

CIFAR_SHAPE = (3, 32, 32)
CIFAR_MEAN = (0.485, 0.456, 0.406)  # those that the published CIFAR ResNets were trained with
CIFAR_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelInfo:
    """An architecture's properties that are known without building it; `input_shape` is (C, H, W)."""

    name: str
    input_shape: tuple[int, int, int]
    num_classes: int
    preprocessing: Preprocessing
    description: str


MODELS: "Registry[tuple[ModelInfo, Builder]]" = Registry(
    "architecture", "qacomp.models.families", "qacomp.models", UnknownArchitectureError
)


def register_model(
    *,
    input_shape: tuple[int, int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    num_classes: int = 10,
) -> Callable[["Builder"], "Builder"]:
    """Register `def name(num_classes) -> nn.Module` under its own name; its docstring's first line is its description.

    input_shape: (C, H, W); mean, std: one value for each channel, for inputs in [0, 1]. The function's file must not
    import torch at its top, only inside the function, so that names can be listed quickly.
    """

    def register(build: "Builder") -> "Builder":
        channels, height, width = input_shape
        preprocessing = Preprocessing(size=(height, width), channels=channels, mean=mean, std=std)
        info = ModelInfo(build.__name__, input_shape, num_classes, preprocessing, described(build))
        MODELS.add(info.name, (info, build))
        return build

    return register
