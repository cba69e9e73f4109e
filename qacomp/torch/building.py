"""Build a module of a caller's class from the configuration in a container, and load the container into it."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import nn

from qacomp.errors import ConfigError
from qacomp.remote import open_file
from qacomp.torch.contents import carried_config
from qacomp.torch.loading import load_into

M = TypeVar("M", bound=nn.Module)


def from_pretrained(
    cls: Callable[..., M],
    path: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    config: Mapping[str, Any] | None = None,
    strict: bool = True,
    subfolder: str = "",
) -> M:
    """Return a module of a class, with the tensors of a container, on a device and in evaluation mode.

    cls: a class of transformers or diffusers, an AutoModel class, or any other class or function, which is called with
    the entries of the configuration as keywords. config: the configuration; None: the config.json that the container
    carries. No code of the file is run. The module is built without values, and gets its tensors one at a time, in the
    file's types. subfolder, strict: see `load_into`.

    Raises ConfigError if there is no configuration or the class doesn't take it, and the errors of `load_into`.
    """
    with open_file(path) as container:
        given = dict(config) if config is not None else carried_config(container, subfolder)
    with torch.device(device):
        with _parameters_without_values():
            module = _built(cls, given, os.fspath(path))
        tie = getattr(module, "tie_weights", None)
        if callable(tie):
            tie()
        load_into(module, path, strict=strict, assign=True, subfolder=subfolder)
    module.eval()
    return module


def _built(cls: Callable[..., M], config: dict[str, Any], path: str) -> M:
    """Return the module that a class makes of a configuration. Raises ConfigError if it refuses it."""
    name = getattr(cls, "__name__", "the class")
    own = getattr(cls, "config_class", None)
    make: Callable[[], Any]
    if own is not None and hasattr(own, "from_dict"):  # a model of transformers
        make = lambda: cls(own.from_dict(config))  # noqa: E731
    elif hasattr(cls, "_model_mapping"):  # an AutoModel of transformers, which chooses by the word `model_type`
        choice = import_module(cls.__module__.partition(".")[0]).AutoConfig
        make = lambda: cls.from_config(choice.for_model(**config))  # type: ignore[attr-defined]  # noqa: E731
    elif hasattr(cls, "from_config"):  # a model of diffusers
        make = lambda: cls.from_config(config)  # noqa: E731
    else:
        make = lambda: cls(**config)  # noqa: E731
    try:
        module = make()
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path}: {name} doesn't take the configuration ({reason}); give config={{...}}") from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f"{path}: {name} returned a {type(module).__name__}, not a module")
    return module  # type: ignore[return-value]


@contextmanager
def _parameters_without_values() -> Iterator[None]:
    """Put each parameter that a module registers on the meta device; buffers keep their values, which files may lack.

    One parameter in several places stays one, since one on the meta device is taken as it is.
    """
    register = nn.Module.register_parameter

    def registered(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:
            parameter = nn.Parameter(parameter.to("meta"), parameter.requires_grad)
        register(module, name, parameter)

    with mock.patch.object(nn.Module, "register_parameter", registered):
        yield
