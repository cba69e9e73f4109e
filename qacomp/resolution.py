"""Settings that were left open, chosen from the network, the data and the machine."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from qacomp.batching import batch_count
from qacomp.config import CompressConfig
from qacomp.datasets import Dataset
from qacomp.distillation import default_temperature, default_weight
from qacomp.errors import ConfigError, DataError
from qacomp.flexible import FlexibleModel
from qacomp.network import Network, choose_precision

_FINE_TUNE_STEPS = 1000
_TUNE_STEPS = 600
_PRUNE_STEPS = 3000


def resolve(
    config: CompressConfig,
    network: Network,
    dataset: Dataset | None,
    device: torch.device,
    note: Callable[[str], None],
) -> CompressConfig:
    """`config` with every None and auto replaced by the choice; without data there is no training, and `note` says so.

    Sub-models that shall teach each other, in a network that has none, are --k shared values and full precision. Raises
    DataError where the data has more classes than the network, ConfigError for energy pruning without data.
    """
    if config.prune == "energy" and (dataset is None or config.prune_epochs == 0):
        raise ConfigError("--prune energy scores states on training data: give --data, and --prune-epochs above 0")
    if config.prune == "magnitude" and config.prune_rate is None:
        config = replace(config, prune_rate=0.5)
    flexible = isinstance(network.model, FlexibleModel)
    if config.levels is None and config.distill in ("ipkd", "ta-1", "ta-m") and not flexible:
        config = replace(config, levels=(config.k,)).check()
    if config.levels is not None:
        config = replace(config, k=config.levels[-1])
    if dataset is None:
        if config.reg != "none" or config.tune_epochs:
            note("no data: no fine-tuning and no tuning, weights are shared by k-means alone; give --data")
        if config.activations is not None:
            raise DataError("--activations: their range is learned in training; give --data")
        untrained = replace(config, reg="none", epochs=0, tune_epochs=0, augment="none", learn_bits=False)
        return replace(untrained, arch=network.arch, precision="fp32", sharing="after", distill="none")
    if dataset.num_classes > network.num_classes:
        raise DataError(f"{dataset.spec}: {dataset.num_classes} classes, but the network has {network.num_classes}")
    steps = batch_count(dataset.train, config.batch_size)
    epochs, tune_epochs, augment = config.epochs, config.tune_epochs, config.augment
    if epochs is None:
        epochs = min(30, max(3, math.ceil(_FINE_TUNE_STEPS / steps)))
    quantized = config.quantizer != "none"
    if tune_epochs is None and quantized:
        tune_epochs = 0  # the quantizer's levels stay an even grid; tuning would move each on its own
    elif tune_epochs is None:
        tune_epochs = min(20, max(2, math.ceil(_TUNE_STEPS / steps)))
    if config.prune != "none":
        prune_epochs = config.prune_epochs
        if prune_epochs is None:
            prune_epochs = min(40, max(4, math.ceil(_PRUNE_STEPS / steps)))
        config = replace(config, prune_epochs=prune_epochs, stagnation=config.stagnation or max(1, prune_epochs // 3))
    sharing = config.sharing
    if sharing == "auto":
        straight = config.reg != "none" or config.levels is not None
        sharing = "straight-through" if straight and not quantized and not config.learn_bits else "after"
    if config.reg == "none" and sharing == "after" and not quantized:
        epochs = 0
    if augment == "auto":
        augment = "crop-flip" if network.preprocessing.channels == 3 else "none"
    precision = choose_precision(config.precision, device)
    if config.distill != "none":
        weight = default_weight(config.distill) if config.distill_weight is None else config.distill_weight
        temperature = config.temperature or default_temperature(network.model, config.distill)
        config = replace(config, distill_weight=weight, temperature=temperature)
    chosen = replace(config, epochs=epochs, tune_epochs=tune_epochs, augment=augment)
    return replace(chosen, arch=network.arch, precision=precision, sharing=sharing)


def refuse_layer_methods(config: CompressConfig, why: str) -> None:
    """Raise ConfigError, which says `why`, for a setting that works on a network's layers: --prune, --quantizer."""
    for flag, value in (("--prune", config.prune), ("--quantizer", config.quantizer)):
        if value != "none":
            raise ConfigError(f"{flag} {value} {why}")
