"""Which weights of a network are compressed, and why the others aren't."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import Tensor, nn

from qacomp.errors import ConfigError

T = TypeVar("T")

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Layer:
    """One weight tensor: `name` is its state-dict key, `kind` conv | dense, `k` the shared values asked for."""

    name: str
    kind: str
    shape: tuple[int, ...]
    k: int


@dataclass(frozen=True)
class Selection:
    """`layers` to share, and `skipped`: state-dict key -> reason, for every other tensor."""

    layers: tuple[Layer, ...]
    skipped: dict[str, str]


def select_layers(model: nn.Module, scope: str, k: int, overrides: Mapping[str, int]) -> Selection:
    """Weights of `model` inside `scope` (all | conv | dense). `overrides` maps layer names or patterns to their own K.

    A name may be the module's (`conv1`), the tensor's (`conv1.weight`) or a pattern (`layer1.*`); one that fits nothing
    raises ConfigError.
    """
    kinds: dict[str, str] = {}
    for path, module in model.named_modules():
        if isinstance(module, _CONVOLUTIONS):
            kinds[f"{path}.weight"] = "conv"
        elif isinstance(module, nn.Linear):
            kinds[f"{path}.weight"] = "dense"
    return _select(dict(model.state_dict()), kinds, scope, k, overrides)


def select_tensors(state: Mapping[str, Tensor], scope: str, k: int, overrides: Mapping[str, int]) -> Selection:
    """The same without an architecture: a float tensor of three or more dimensions counts as conv, of two as dense."""
    kinds = {n: "dense" if t.ndim == 2 else "conv" for n, t in state.items() if t.ndim >= 2 and t.is_floating_point()}
    return _select(state, kinds, scope, k, overrides)


def _select(
    state: Mapping[str, Tensor], kinds: Mapping[str, str], scope: str, k: int, overrides: Mapping[str, int]
) -> Selection:
    layers, skipped = [], {}
    own = value_for([n for n in state if n in kinds and scope in ("all", kinds[n])], overrides, "--k")
    for name, tensor in state.items():
        if name not in kinds:
            skipped[name] = "no weight of a convolution or a dense layer"
        elif scope not in ("all", kinds[name]):
            skipped[name] = f"outside --scope {scope}"
        elif tensor.numel() == 0:
            skipped[name] = "empty"
        else:
            layers.append(Layer(name, kinds[name], tuple(tensor.shape), own.get(name, k)))
    return Selection(tuple(layers), skipped)


def value_for(names: Iterable[str], overrides: Mapping[str, T], flag: str) -> dict[str, T]:
    """Tensor name -> what `overrides` (names or patterns, the first that fits) say of it; others are left out.

    Raises ConfigError, which names `flag`, for a pattern that fits no name.
    """
    names = list(names)
    unused = [pattern for pattern in overrides if not any(_fits(pattern, name) for name in names)]
    if unused:
        known = ", ".join(name.removesuffix(".weight") for name in names[:8])
        raise ConfigError(f"{flag} {unused[0]}=...: no compressed layer has that name; there are {known}, ...")
    fitting = {name: next((p for p in overrides if _fits(p, name)), None) for name in names}
    return {name: overrides[pattern] for name, pattern in fitting.items() if pattern is not None}


def split_name(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that owns the parameter `name`, and the parameter's name in it."""
    path, _, leaf = name.rpartition(".")
    return model.get_submodule(path), leaf


def _fits(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name.removesuffix(".weight"), pattern)
