"""Choose the settings that were left open in a training from random weights."""

import math
from collections.abc import Callable
from dataclasses import replace

from qacomp.batches.examples import Examples
from qacomp.batches.images import ImageExamples
from qacomp.batches.loaders import LoaderBatches
from qacomp.errors import ConfigError, DataError
from qacomp.models.flexible import FlexibleModel
from qacomp.options.checking import check_effects
from qacomp.options.config import CompressConfig
from qacomp.options.from_scratch import DEFAULTS
from qacomp.options.needs import regularizer_options, sharing_way
from qacomp.options.sharing import AFTER, RATE
from qacomp.sources.network import Network
from qacomp.stages.resolve import with_k, with_quantizer, without_image_settings
from qacomp.training.device import choose_device, choose_precision
from qacomp.training.distillation import among_submodels, with_lesson
from qacomp.training.pruning.methods import PRUNERS, pruner_of

_STEPS = 800
"""Optimizer steps that a training from scratch should have at least; a classifier of digits needs no more."""


def resolve_scratch(
    config: CompressConfig, network: Network, examples: Examples, note: Callable[[str], None]
) -> CompressConfig:
    """Return `config` with every None and auto replaced by a choice, for a network with random weights.

    Weights stay in full precision unless --sharing straight-through or a quantizer is given: sharing them is left to
    compress. note: called with a text that names settings without effect. Raises ConfigError for a setting that has no
    effect or can't work; DataError if the data has more classes than the network.
    """
    config = _in_full(config)
    if examples.num_classes is not None and network.num_classes and examples.num_classes > network.num_classes:
        raise DataError(f"{examples.spec}: {examples.num_classes} classes, but the network has {network.num_classes}")
    if isinstance(examples.train, LoaderBatches) and config.batch_size == DEFAULTS["batch_size"]:
        config = replace(config, batch_size=CompressConfig().batch_size)  # nobody gave one
    config = without_image_settings(config, examples, note)
    epochs = config.epochs or min(100, max(5, math.ceil(_STEPS / examples.train.steps(config.batch_size))))
    config = with_quantizer(replace(config, epochs=epochs, tune_epochs=0), note)
    config = _with_pruning(with_k(_with_lesson(config, network)), epochs)
    config.check()
    check_effects(config)
    augment = config.augment
    if augment == "auto":
        coloured = isinstance(examples, ImageExamples) and examples.preprocessing.channels == 3
        augment = "crop-flip" if coloured else "none"
    precision = choose_precision(config.precision, choose_device(config.device))
    return replace(config, augment=augment, precision=precision, arch=network.arch)


def clusters(config: CompressConfig) -> bool:
    """Return whether the training has a stage that draws the weights to shared or quantized values."""
    return bool(config.reg.chosen or config.quantizer.chosen or sharing_way(config).in_training)


def _in_full(config: CompressConfig) -> CompressConfig:
    """Return `config` with sharing left to compress, unless it is asked for in the forward pass."""
    if config.sharing.name == "auto":
        config = replace(config, sharing=AFTER)
    if config.sharing.name == RATE.name:
        raise ConfigError(f"--sharing {config.sharing.name}: is a way of compress; here give straight-through or after")
    if config.epochs == 0:
        raise ConfigError("--epochs 0: nothing would be trained; leave it out, or give 1 or more")
    shared = (config.reg.chosen and not regularizer_options(config).bits_learned) or sharing_way(config).in_training
    if not shared and (config.k is not None or config.k_layers):
        raise ConfigError("--k: has no effect without --reg or --sharing straight-through; give it to compress")
    return config


def _with_lesson(config: CompressConfig, network: Network) -> CompressConfig:
    """Return `config` with the hyper-parameters of --distill. Raises ConfigError where nobody teaches."""
    if not config.distill.chosen:
        return config
    name = config.distill.name
    if not isinstance(network.model, FlexibleModel):
        raise ConfigError(f"--distill {name}: {network.arch} has no sub-models; train msdnet or slimmable_mobilenet")
    if not among_submodels(config.distill):
        raise ConfigError(f"--distill {name}: a network trained from the start has no teacher; give ipkd or ta-m")
    return replace(config, distill=with_lesson(network.model, config.distill))


def _with_pruning(config: CompressConfig, epochs: int) -> CompressConfig:
    """Return `config` with the hyper-parameters of --prune: the epochs of the training, and the search of the paper."""
    if not config.prune.chosen:
        return config
    chosen = config.prune.filled(epochs=epochs, **PRUNERS.find(config.prune.name).from_scratch)
    pruner = pruner_of(chosen)
    if pruner.options.epochs == 0:
        raise ConfigError(f"--prune {config.prune}: an untrained network is pruned in its training; leave out epochs=0")
    if pruner.options.rate is None and pruner.default_rate is not None:
        chosen = chosen.filled(rate=pruner.default_rate)
    return replace(config, prune=chosen)
