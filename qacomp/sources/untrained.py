"""Open a network with random weights and the data that it is to be trained on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qacomp.batches.examples import Examples
from qacomp.batches.images import ImageExamples
from qacomp.checkpoints import Checkpoint
from qacomp.datasets.preprocessing_choice import choose_preprocessing
from qacomp.errors import ConfigError, DataError
from qacomp.models import create_model, model_info
from qacomp.models.plain_modules import plain_module
from qacomp.options.config import CompressConfig
from qacomp.sources.data import FoundData, find_data
from qacomp.sources.module_network import network_of, on_batches
from qacomp.sources.network import Network
from qacomp.sources.opening import checkpoint_of
from qacomp.sources.own_network import is_own, made_by, own_module
from qacomp.sources.torch_source import TorchSource


@dataclass(frozen=True)
class InMemory:
    """What a caller gives in place of --arch and --data; None: what the settings name.

    model: a module, whose weights are the start, or a class or function that makes one, by the seed of the settings;
    data: whatever `qacomp.compress` takes.
    """

    model: Any = None
    data: Any = None

    @property
    def arch(self) -> str | None:
        """Return module:Class of the model, as --arch would name it."""
        if self.model is None:
            return None
        kind = type(self.model) if isinstance(self.model, nn.Module) else self.model
        return f"{kind.__module__}:{getattr(kind, '__qualname__', type(kind).__qualname__)}"


NOTHING = InMemory()


def open_untrained(
    config: CompressConfig, note: Callable[[str], None], given: InMemory = NOTHING
) -> tuple[TorchSource, Examples]:
    """Return the network of `config.arch`, made by its seed, as a source; and the data of `config.data`.

    note: called with remarks on the data and the module; given: what is in memory. Raises UnknownArchitectureError,
    UnknownDataSpecError, DataError, and ConfigError for a class of the user's own that can't be made or doesn't run on
    the data.
    """
    arch, data = given.arch or config.arch, config.data if given.data is None else given.data
    if arch is None or data is None:
        raise ConfigError("train: needs --arch and --data; from Python a network and data")
    if given.model is not None:
        network, examples = _of_caller(given.model, arch, config, data)
    elif is_own(arch):
        network, examples = _own(arch, config, data)
    else:
        model_info(arch)  # an unknown one is an error before the data is read
        network, examples = _registered(arch, config, data)
    for remark in getattr(examples, "notes", ()):
        note(remark)
    checkpoint = checkpoint_of(network.model)
    assert isinstance(checkpoint, Checkpoint)
    return TorchSource(checkpoint, network), examples


def _registered(arch: str, config: CompressConfig, data: Any) -> tuple[Network, Examples]:
    found = find_data(data)
    assert found is not None
    info = model_info(arch)
    preprocessing = choose_preprocessing(config, info.preprocessing)
    classes = info.num_classes if found.images is None else max(found.images.num_classes, 2)
    classes = config.num_classes or classes
    torch.manual_seed(config.seed)  # after the data, whose code may draw numbers too
    network = Network(create_model(arch, classes).eval(), arch, classes, preprocessing.input_shape, preprocessing)
    if found.images is None:
        own, examples = on_batches(network.model, found)
        return replace(own, arch=arch, num_classes=classes), examples
    return network, _images(found, network)


def _images(found: FoundData, network: Network) -> Examples:
    assert found.images is not None and network.preprocessing is not None
    if len(found.images.train.y) < 2:
        raise DataError(f"{found.spec}: {len(found.images.train.y)} training sample; training needs two or more")
    return ImageExamples(found.images, network.preprocessing)


def _own(arch: str, config: CompressConfig, data: Any) -> tuple[Network, Examples]:
    torch.manual_seed(config.seed)
    return _on_data(own_module(arch), arch, config, data)


def _of_caller(model: Any, arch: str, config: CompressConfig, data: Any) -> tuple[Network, Examples]:
    if isinstance(model, nn.Module):
        return _on_data(plain_module(model, Path(f"<{type(model).__name__}>")).module, arch, config, data)
    torch.manual_seed(config.seed)
    return _on_data(made_by(model, arch), arch, config, data)


def _on_data(module: nn.Module, arch: str, config: CompressConfig, data: Any) -> tuple[Network, Examples]:
    network, examples = network_of(module, config, data, None)
    assert network is not None and examples is not None
    return replace(network, arch=arch), examples
