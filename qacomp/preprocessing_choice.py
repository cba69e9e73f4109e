"""Which preprocessing holds: the file's or the architecture's own, with the settings' size, mean and std on top."""

from dataclasses import replace

from qacomp.config import CompressConfig
from qacomp.errors import ConfigError
from qacomp.preprocessing import Preprocessing


def choose_preprocessing(config: CompressConfig, stored: Preprocessing) -> Preprocessing:
    """`stored` with what `config` changes; a single mean or std counts for every channel. Raises ConfigError."""
    chosen = stored
    for name in ("mean", "std"):
        values: tuple[float, ...] | None = getattr(config, name)
        if values is None:
            continue
        if len(values) not in (1, chosen.channels):
            raise ConfigError(f"--{name} has {len(values)} values; the network's input has {chosen.channels} channels")
        chosen = replace(chosen, **{name: values * (chosen.channels // len(values))})
    if config.size is not None:
        chosen = replace(chosen, size=config.size)
    if any(s <= 0 for s in chosen.std) or any(n < 1 for n in chosen.size):
        raise ConfigError("--std and --size must be greater than zero")
    return chosen
