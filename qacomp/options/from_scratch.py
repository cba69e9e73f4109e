"""The settings of `qacomp train`: those of a compression that apply to a network without trained weights."""

from collections.abc import Mapping
from typing import Any

from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.options.declaration import flag
from qacomp.options.method import NO_METHOD, MethodChoice

SETTINGS = (
    *("arch", "data", "num_classes", "metric", "preprocess"),
    *("epochs", "batch_size", "lr", "optimizer", "augment", "seed", "device", "precision"),
    *("reg", "k", "sharing", "strength", "pull", "schedule", "lr_levels", "quantizer", "bits", "prune", "distill"),
    *("scope", "include", "exclude", "min_size"),
)
"""The settings that `qacomp train` takes; values by layer (`k_layers`) belong to them."""
FROM_SCRATCH = MethodChoice("sgd", {"nesterov": "true", "weight_decay": "0.0005"})
"""The default optimizer: an untrained network bears five times the weight decay of a trained one's fine-tuning."""
DEFAULTS: Mapping[str, Any] = {"batch_size": 64, "optimizer": FROM_SCRATCH, "distill": NO_METHOD}
"""The defaults that differ from those of a compression."""


def taken(name: str) -> bool:
    """Return whether such a training takes a setting; values by layer belong to their setting."""
    return name.removesuffix("_layers") in SETTINGS


def scratch_config(settings: Mapping[str, Any], source: str = "settings") -> CompressConfig:
    """Return the settings of a training from random weights; source: where they come from, for errors.

    Raises ConfigError for an unknown setting, a wrong type, or a setting that such a training doesn't take.
    """
    config = CompressConfig(**DEFAULTS).with_settings(settings, source)
    for name in settings:
        if not taken(name):
            raise ConfigError(f"{flag(name)}: is a setting of compress; train the network first, then give it there")
    return config
