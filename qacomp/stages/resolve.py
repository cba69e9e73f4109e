"""Settings that were left open, chosen from the network, the data and the machine."""

import math
from collections.abc import Callable, Collection
from dataclasses import replace

import torch

from qacomp.datasets import Dataset
from qacomp.errors import ConfigError, DataError
from qacomp.models.flexible import FlexibleModel
from qacomp.options.checking import check_effects, leave_out
from qacomp.options.config import CompressConfig
from qacomp.options.needs import ASSISTED, fine_tunes, rounds_freely, shares_in_training, trains
from qacomp.sources.network import Network, choose_precision
from qacomp.training.batches import batch_count
from qacomp.training.distillation import default_temperature, default_weight

_FINE_TUNE_STEPS = 1000
_TUNE_STEPS = 600
_PRUNE_STEPS = 3000
SHARING = (
    *("scope", "include", "exclude", "min_size", "codebook", "k", "k_layers", "levels"),
    *("min_agreement", "rounding", "stored_precision", "seed", "data", "key"),
)
"""The settings of sharing by k-means alone."""
PROGRAM = ("input", "submodule")
"""The settings of exporting a user's own program."""
RUNNING = ("run_seconds", "run_memory")
"""The settings of running models to measure them."""
_WITHOUT_DATA = (
    *SHARING,
    *RUNNING,
    *("arch", "num_classes", "size", "mean", "std", "device"),
    *("quantizer", "bits", "bits_layers", "ends", "quantizer_scale"),
    *("prune", "prune_rate", "prune_unit", "prune_scope"),
)


def resolve(
    config: CompressConfig,
    network: Network,
    dataset: Dataset | None,
    device: torch.device,
    note: Callable[[str], None],
) -> CompressConfig:
    """`config` with every None and auto replaced by the choice; without data there is no training, and `note` says so.

    Sub-models that shall teach each other, in a network that has none, are --k shared values and full precision. Raises
    DataError where the data has more classes than the network, ConfigError for energy pruning without data, or for a
    setting that changes nothing.
    """
    if config.prune == "energy" and (dataset is None or config.prune_epochs == 0):
        raise ConfigError("--prune energy scores states on training data: give --data, and --prune-epochs above 0")
    trained = dataset is not None or config.prune != "none" or config.quantizer != "none"
    if config.min_agreement and (trained or isinstance(network.model, FlexibleModel)):
        raise ConfigError("--min-agreement: for plain sharing without data; else accuracy is measured, and trained for")
    if config.prune == "magnitude" and config.prune_rate is None:
        config = replace(config, prune_rate=0.5)
    if dataset is None:
        if config.activations is not None:
            raise DataError("--activations: their range is learned in training; give --data")
        why = "no data: no fine-tuning and no tuning, weights are shared by k-means alone; give --data"
        return replace(untrained(config, _WITHOUT_DATA, note, why), arch=network.arch)
    if dataset.num_classes > network.num_classes:
        raise DataError(f"{dataset.spec}: {dataset.num_classes} classes, but the network has {network.num_classes}")
    config = _with_sharing(config, isinstance(network.model, FlexibleModel))
    config = _with_epochs(config, batch_count(dataset.train, config.batch_size))
    config = _with_rounding(config)
    augment, precision = config.augment, config.precision
    if not trains(config):
        augment, precision = "none", "fp32"
    if augment == "auto":
        augment = "crop-flip" if network.preprocessing.channels == 3 else "none"
    if config.distill != "none" and trains(config):
        weight = default_weight(config.distill) if config.distill_weight is None else config.distill_weight
        temperature = config.temperature or default_temperature(network.model, config.distill)
        config = replace(config, distill_weight=weight, temperature=temperature)
    return replace(config, augment=augment, precision=choose_precision(precision, device), arch=network.arch)


def untrained(config: CompressConfig, used: Collection[str], note: Callable[[str], None], why: str) -> CompressConfig:
    """`config` where nothing is trained, with its settings `used`; a note names others that were given, and `why`."""
    config = leave_out(config, used, note, why)
    if config.levels is not None:
        config = replace(config, k=config.levels[-1])
    config = replace(config, epochs=0, tune_epochs=0, sharing="after", distill="none")
    config = replace(config, augment="none", precision="fp32")
    return _with_rounding(config)


def _with_rounding(config: CompressConfig) -> CompressConfig:
    """How k-means rounds, where it is left open: balanced, also before a tuning of the values."""
    if config.rounding != "auto":
        return config
    return replace(config, rounding="balanced" if rounds_freely(config) else "nearest")


def _with_sharing(config: CompressConfig, flexible: bool) -> CompressConfig:
    """The levels and when they are shared; `flexible`: the network has sub-models of its own, which need no levels."""
    if config.levels is None and config.distill in ASSISTED and not flexible:
        config = replace(config, levels=(config.k,)).check()
    if config.levels is not None:
        config = replace(config, k=config.levels[-1])
    asked = replace(config, distill="kd") if flexible else config
    config = replace(config, sharing="straight-through" if shares_in_training(asked) else "after")
    check_effects(config)
    return config


def _with_epochs(config: CompressConfig, steps: int) -> CompressConfig:
    """The length of each stage, from the steps of an epoch."""
    epochs, tune_epochs = config.epochs, config.tune_epochs
    if not fine_tunes(config):
        epochs = 0
    elif epochs is None:
        epochs = min(30, max(3, math.ceil(_FINE_TUNE_STEPS / steps)))
    if tune_epochs is None and config.quantizer != "none":
        tune_epochs = 0  # the quantizer's levels stay an even grid; tuning would move each on its own
    elif tune_epochs is None:
        tune_epochs = min(20, max(2, math.ceil(_TUNE_STEPS / steps)))
    config = replace(config, epochs=epochs, tune_epochs=tune_epochs)
    if config.prune == "none":
        return config
    if config.prune_epochs is None:
        config = replace(config, prune_epochs=min(40, max(4, math.ceil(_PRUNE_STEPS / steps))))
    if config.prune == "energy":
        config = replace(config, stagnation=config.stagnation or max(1, (config.prune_epochs or 0) // 3))
    return config


def refuse_layer_methods(config: CompressConfig, why: str) -> None:
    """Raise ConfigError, which says `why`, for a setting that works on a network's layers: --prune, --quantizer."""
    for flag, value in (("--prune", config.prune), ("--quantizer", config.quantizer)):
        if value != "none":
            raise ConfigError(f"{flag} {value} {why}")
