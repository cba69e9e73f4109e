"""Make a network of a caller's module, with the inputs that its data has."""

import itertools
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from qacomp.batches.examples import Examples
from qacomp.batches.feed import Feed, tensors_of, told
from qacomp.batches.given import load_examples
from qacomp.batches.images import ImageExamples
from qacomp.batches.outputs import flat_outputs, main_output
from qacomp.datasets import Dataset
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.datasets.preprocessing_choice import choose_preprocessing
from qacomp.errors import ConfigError, DataError
from qacomp.graphs.export_inputs import ExportInputs
from qacomp.models.plain_modules import copied
from qacomp.options.config import CompressConfig
from qacomp.sources.data import FoundData, find_data
from qacomp.sources.network import Network

_SEEN = 4  # batches that are compared to find out which axes of the inputs vary


def network_of(
    model: Any, config: CompressConfig, given: Any, input_shape: tuple[int, int, int] | None
) -> tuple[Network | None, Examples | None]:
    """Return a float32 copy of a caller's nn.Module as a Network, None if its inputs are unknown; and the data.

    Images of a data spec are fed in [0, 1], (N, C, H, W), without normalization, unless --preprocess gives it; a user's
    own batches as they are. input_shape: (C, H, W) without data. Raises ConfigError if the module fails on its inputs.
    """
    if isinstance(model, torch.jit.ScriptModule) and (given is not None or input_shape is not None):
        raise ConfigError(
            f"{type(model).__name__}: a scripted module has no layers to train; give the module that it was made from, "
            "or leave the data out and give --input, the shapes that its forward takes"
        )
    found = find_data(given)
    if found is None:
        return (None if input_shape is None else _on_images(model, config, input_shape)), None
    if found.images is None:
        return on_batches(model, found)
    try:
        network = _on_images(model, config, input_shape or image_shape(found.images))
    except ConfigError as error:
        if found.own is None:
            raise
        try:
            return on_batches(model, found)
        except (ConfigError, DataError):
            raise error from None
    preprocessing = network.preprocessing
    assert preprocessing is not None
    return network, ImageExamples(found.images, preprocessing)


def with_examples(network: Network, given: Any) -> tuple[Network, Examples | None]:
    """Return a known architecture's network and its data: images, or a user's own batches, fed as they are."""
    found = find_data(given)
    if found is None:
        return network, None
    if found.images is not None:
        assert network.preprocessing is not None
        return network, ImageExamples(found.images, network.preprocessing)
    own, examples = on_batches(network.model, found)
    return replace(own, arch=network.arch, num_classes=network.num_classes), examples


def _on_images(model: nn.Module, config: CompressConfig, shape: tuple[int, int, int]) -> Network:
    """Return the network for images of a shape (C, H, W), which must give one row of outputs for each."""
    channels, height, width = shape
    plain = Preprocessing((height, width), channels, (0.0,) * channels, (1.0,) * channels)
    preprocessing = choose_preprocessing(config, plain)
    own = copied(model).cpu().float().eval()
    wanted = preprocessing.input_shape
    scores = _tried(type(model).__name__, own, torch.zeros(2, *wanted), f"an input of shape {(2, *wanted)}")
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or scores.shape[0] != 2:
        found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise ConfigError(f"{type(model).__name__} must return class scores (batch, classes), but it returns {found}")
    return Network(own, type(model).__name__, scores.shape[1], wanted, preprocessing)


def on_batches(model: nn.Module, found: FoundData) -> tuple[Network, Examples]:
    """Return the network for a user's own batches, with the sizes of their inputs."""
    own, name = copied(model).cpu().float().eval(), type(model).__name__
    examples = load_examples(found.own, own, found.spec)
    feeds = [batch.x for batch in itertools.islice(examples.train.in_order(2 * _SEEN), _SEEN)]
    if not feeds:
        raise DataError(f"{found.spec}: the training part gives no batches; check its length and drop_last")
    inputs = ExportInputs.of_feeds(feeds, own)
    outputs = _tried(name, own, inputs.feed, f"a batch {told(inputs.feed)} of {found.spec}")
    if not flat_outputs(outputs):
        raise ConfigError(f"{name} returns {type(outputs).__name__} without tensors; return a tensor")
    if len(main_output(outputs)) != len(tensors_of(inputs.feed)[0]):
        raise ConfigError(
            f"{name} must return a row for each of the examples, but {told(inputs.feed)} gives {told(outputs)}"
        )
    fixed = isinstance(inputs.feed, torch.Tensor) and not inputs.free[0]
    shape = tuple(tensors_of(inputs.feed)[0].shape[1:]) if fixed else None
    return Network(own, name, None, shape, None, inputs), examples


def _tried(name: str, model: nn.Module, feed: Feed, what: str) -> Any:
    try:
        with torch.no_grad():
            return ExportInputs(feed, (), ()).call(model)
    except Exception as error:  # a user's forward may raise anything
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{name} fails on {what}: {reason}") from error


def image_shape(dataset: Dataset) -> tuple[int, int, int]:
    """Return (C, H, W) of the stored images, which are (N, H, W) or (N, H, W, C)."""
    _, height, width, *channels = dataset.train.x.shape
    return (channels[0] if channels else 1, height, width)
