"""Choose the preprocessing: that of the file or the architecture, with size, mean and std changed by the settings."""

import math
from dataclasses import replace

from qacomp.datasets.preprocessing import LARGEST_SIDE, Preprocessing
from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig


def choose_preprocessing(config: CompressConfig, stored: Preprocessing) -> Preprocessing:
    """Return `stored` with the size, mean and std that `config` gives; one mean or std applies to all channels.

    Raises ConfigError for values out of range, or a wrong number of them.
    """
    mean = _per_channel("mean", config.mean, stored.channels) or stored.mean
    std = _per_channel("std", config.std, stored.channels) or stored.std
    chosen = replace(stored, mean=mean, std=std)
    if config.size is not None:
        chosen = replace(chosen, size=config.size)
    if any(s <= 0 for s in chosen.std) or any(n < 1 for n in chosen.size):
        raise ConfigError("--std and --size must be greater than zero")
    if any(n > LARGEST_SIDE for n in chosen.size):
        raise ConfigError(f"--size: a side has at most {LARGEST_SIDE} pixels")
    if not all(map(math.isfinite, (*chosen.mean, *chosen.std))):
        raise ConfigError("--mean and --std must be finite numbers")
    return chosen


def _per_channel(name: str, values: tuple[float, ...] | None, channels: int) -> tuple[float, ...] | None:
    if values is not None and len(values) not in (1, channels):
        raise ConfigError(f"--{name} has {len(values)} values; the network's input has {channels} channels")
    return values * (channels // len(values)) if values else None
