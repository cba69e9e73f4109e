"""Open a network with random weights and the data that it is to be trained on."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from qacomp.batches.examples import Examples
from qacomp.batches.images import ImageExamples
from qacomp.checkpoints import Checkpoint
from qacomp.datasets.preprocessing_choice import choose_preprocessing
from qacomp.errors import ConfigError, DataError
from qacomp.models import create_model, model_info
from qacomp.options.config import CompressConfig
from qacomp.sources.data import FoundData, find_data
from qacomp.sources.module_network import network_of, on_batches
from qacomp.sources.network import Network
from qacomp.sources.opening import checkpoint_of
from qacomp.sources.own_network import is_own, own_module
from qacomp.sources.torch_source import TorchSource


def open_untrained(config: CompressConfig, note: Callable[[str], None]) -> tuple[TorchSource, Examples]:
    """Return the network of `config.arch`, made by its seed, as a source; and the data of `config.data`.

    note: called with remarks on the data. Raises UnknownArchitectureError, UnknownDataSpecError, DataError, and
    ConfigError for a class of the user's own that can't be made or doesn't run on the data.
    """
    arch, spec = config.arch, config.data
    if arch is None or spec is None:
        raise ConfigError("train: needs --arch and --data")
    if not is_own(arch):
        model_info(arch)  # an unknown one is an error before the data is read
    network, examples = _own(arch, config, spec) if is_own(arch) else _registered(arch, config, spec)
    for remark in getattr(examples, "notes", ()):
        note(remark)
    checkpoint = checkpoint_of(network.model)
    assert isinstance(checkpoint, Checkpoint)
    return TorchSource(checkpoint, network), examples


def _registered(arch: str, config: CompressConfig, spec: str) -> tuple[Network, Examples]:
    found = find_data(spec)
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


def _own(arch: str, config: CompressConfig, spec: Any) -> tuple[Network, Examples]:
    torch.manual_seed(config.seed)
    network, examples = network_of(own_module(arch), config, spec, None)
    assert network is not None and examples is not None
    return replace(network, arch=arch), examples
