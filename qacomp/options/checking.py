"""Check options: each against its bounds and choices, all of them together, and that none is without effect."""

from collections.abc import Callable, Collection
from dataclasses import fields, replace
from itertools import pairwise
from typing import TypeVar

from qacomp.errors import ConfigError
from qacomp.options.declaration import Config, declarations, default_of, flag
from qacomp.options.limits import check_value
from qacomp.options.method_table import method_table
from qacomp.options.needs import (
    rate_aware,
    regularizer_options,
    rounded_once,
    sharing_way,
    sized_levels,
    trellis,
    trellis_given,
)
from qacomp.options.parts import check_parts

C = TypeVar("C")


def check_config(config: Config) -> None:
    """Raise ConfigError, which names the first option that is wrong."""
    known = declarations(config)
    defaults = {found.name: default_of(found) for found in fields(config)}
    for name, declared in known.items():
        value = getattr(config, name)
        if declared.parts is not None:
            check_parts(flag(name), value)
        elif declared.methods is None:
            check_value(name, declared if declared.of is None else known[declared.of], value)
        elif value.given or value != defaults[name]:
            method_table(declared).options(value)
    _check_rate(config)
    _check_quantizer(config)
    _check_codebook(config)
    if config.prune.chosen and min([config.shared_values, *config.k_layers.values()]) < 3:
        raise ConfigError("--prune: one of the shared values is zero, so give --k of at least 3")
    if config.levels is not None:
        _check_levels(config, config.levels)
    check_effects(config)


def check_effects(config: Config) -> None:
    """Raise ConfigError for an option that was given although it has no effect with the other options."""
    known = declarations(config)
    for name in given(config, known):
        for need in known[name].needs:
            if not need.holds(config):
                raise ConfigError(f"{flag(name)}: has no effect {need.reason}")


def leave_out(config: C, used: Collection[str], note: Callable[[str], None], why: str) -> C:
    """Return `config` with all options except `used` at their defaults; a note says why and names those dropped."""
    unused = [found for found in fields(config) if found.name not in used]  # type: ignore[arg-type]
    if names := given(config, [found.name for found in unused]):
        note(f"{why}; without effect: {', '.join(map(flag, names))}")
    return replace(config, **{found.name: default_of(found) for found in unused})  # type: ignore[type-var]


def given(config: Config, names: Collection[str]) -> list[str]:
    """Return those of `names` whose value differs from the default and from the option's idle value."""
    known = declarations(config)
    defaults = {found.name: default_of(found) for found in fields(config)}
    values = {name: getattr(config, name) for name in names}
    return [n for n, value in values.items() if value != defaults[n] and value != known[n].idle]


def _check_rate(config: Config) -> None:
    """Raise ConfigError for what doesn't go with rate-aware sharing, such as a quantizer: both decide the grid."""
    if rate_aware(config) and config.quantizer.chosen:
        raise ConfigError(
            f"--quantizer {config.quantizer.name}: its levels are the grid, which rate-aware sharing would choose by "
            "itself; leave it, or leave --sharing rate, --target-size, --quality and --calibration"
        )
    if trellis_given(config) and trellis(config) != "false" and not rounded_once(config):
        raise ConfigError(
            "--sharing rate:trellis: has no effect on weights that are trained (--epochs) or kept at several sizes "
            "(--target-size); leave one of them out"
        )
    if sized_levels(config) and config.prune.chosen:
        raise ConfigError(
            f"--prune {config.prune.name}: doesn't work together with several sizes; give --target-size one size"
        )


def _check_codebook(config: Config) -> None:
    if config.min_agreement and (config.codebook != "tensor" or config.levels is not None):
        raise ConfigError(
            "--min-agreement: works with one codebook for each tensor only; leave out --codebook and --levels"
        )
    trained = config.reg.chosen or sharing_way(config).in_training or config.quantizer.chosen
    if config.codebook != "tensor" and (trained or config.prune.chosen):
        raise ConfigError(
            f"codebook = {config.codebook!r}: regularizers, sharing in training, quantizers and pruning need one "
            "codebook for each tensor; leave them out, or give --codebook tensor"
        )


def _check_levels(config: Config, levels: tuple[int, ...]) -> None:
    ascending = all(a < b for a, b in pairwise(levels))
    if not 1 <= len(levels) <= 16 or not ascending or levels[0] < 2 or levels[-1] > 65_536:
        raise ConfigError(f"levels = {list(levels)}: give 1 to 16 ascending numbers between 2 and 65,536: 4,16,64")
    if sharing_way(config).moves_boundaries:
        raise ConfigError(
            f"--sharing {config.sharing}: entropy can't move the nested boundaries of --levels; leave one out"
        )
    if config.codebook != "tensor":
        raise ConfigError(
            f"codebook = {config.codebook!r}: --levels need one codebook for each tensor; leave one of them out"
        )
    for name in ("prune", "quantizer"):
        if getattr(config, name).chosen:
            raise ConfigError(
                f"--{name} {getattr(config, name).name}: doesn't work together with --levels; leave one of them out"
            )


def _check_quantizer(config: Config) -> None:
    if not config.quantizer.chosen:
        if given(config, ("bits", "bits_layers")):
            raise ConfigError("bits: set the bits of a quantizer; give --quantizer dorefa or wrpn, or use --k instead")
    elif sharing_way(config).in_training:
        raise ConfigError(
            f"--quantizer {config.quantizer.name}: already shares weights in the forward pass; leave --sharing out"
        )
    elif config.k_layers:
        raise ConfigError(
            f"--quantizer {config.quantizer.name}: the number of shared values follows from --bits; leave --k out"
        )
    if sharing_way(config).in_training and regularizer_options(config).levels_vary:
        raise ConfigError(
            f"--reg {config.reg}: changes the number of shared values, which --sharing {config.sharing.name} needs"
            " fixed; give --sharing after"
        )
