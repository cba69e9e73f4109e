"""Choose the preprocessing: that of the file or the architecture, changed by --preprocess."""

import math
from dataclasses import replace

from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.options.parts import check_parts


def choose_preprocessing(config: CompressConfig, stored: Preprocessing) -> Preprocessing:
    """Return `stored` with the size, mean and std of --preprocess; a single mean or std applies to all channels.

    Raises ConfigError for values out of range, or a wrong number of them.
    """
    given = config.preprocess
    check_parts("--preprocess", given)
    mean = _per_channel("mean", given.mean, stored.channels) or stored.mean
    std = _per_channel("std", given.std, stored.channels) or stored.std
    if not all(map(math.isfinite, (*mean, *std))):
        raise ConfigError("--preprocess: mean and std must be finite numbers")
    return replace(stored, mean=mean, std=std, size=given.size or stored.size)


def _per_channel(name: str, values: tuple[float, ...] | None, channels: int) -> tuple[float, ...] | None:
    if values is not None and len(values) not in (1, channels):
        raise ConfigError(
            f"--preprocess: {name} has {len(values)} values, but the network's input has {channels} channels; give 1 "
            f"or {channels}"
        )
    return values * (channels // len(values)) if values else None
