"""Whether settings can work: every value within its bounds, and together."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from qacomp.config_effects import check_effects
from qacomp.errors import ConfigError
from qacomp.evaluation.limits import RunLimits
from qacomp.evaluation.metric_names import check_metric
from qacomp.sharing.blocks import check_codebook

if TYPE_CHECKING:
    from qacomp.config import CompressConfig

_CHOICES = {
    "scope": ("all", "conv", "dense"),
    "distill": ("none", "kd", "ipkd", "ta-1", "ta-m"),
    "side": ("fp16", "exact"),
    "device": ("auto", "cpu", "cuda"),
    "augment": ("auto", "none", "crop-flip"),
    "precision": ("auto", "fp32", "bf16"),
    "sharing": ("auto", "after", "straight-through"),
    "rounding": ("auto", "nearest", "balanced"),
    "batch_norm": ("keep", "re-estimate"),
    "schedule": ("warmup", "constant", "tanh"),
    "init": ("kmeans", "quantile", "uniform"),
    "range": ("layer", "global", "learned"),
    "quantizer_scale": ("layer", "unit"),
    "domain": ("auto", "dorefa", "wrpn", "dorefa-raw", "wrpn-raw"),
    "prune": ("none", "energy", "magnitude"),
    "prune_unit": ("weight", "filter"),
    "prune_scope": ("layer", "global"),
    "prune_start": ("magnitude", "random"),
    "prune_parents": ("rescore", "keep"),
}
_POSITIVE = ("stagnation", "batch_size", "slices", "lr", "lr_levels", "lr_tune", "temperature", "num_classes")
_NOT_NEGATIVE = (
    "strength",
    "strength_layers",
    "pull",
    "entropy",
    "bits_penalty",
    "epochs",
    "tune_epochs",
    "prune_epochs",
    "weight_decay",
    "seed",
    "min_size",
)
_FRACTIONS = ("warmup", "distill_weight", "momentum")


def check_config(config: "CompressConfig") -> None:
    """Raises ConfigError, which names the first setting that can't work."""
    _check_values(config)
    _check_quantizer(config)
    _check_codebook(config)
    if config.prune != "none" and min([config.k, *config.k_layers.values()]) < 3:
        raise ConfigError("--prune: zero is one of the shared values; give --k of at least 3")
    if config.levels is not None:
        _check_levels(config, config.levels)
    check_effects(config)


def _check_values(config: "CompressConfig") -> None:
    """Each setting by itself."""
    for name, known in _CHOICES.items():
        if getattr(config, name) not in known:
            raise ConfigError(f"{name} = {getattr(config, name)!r}: must be one of {', '.join(known)}")
    for where, k in (*_given(config, "k"), *_given(config, "k_layers")):
        if not 2 <= k <= 65_536:
            raise ConfigError(f"{where} = {k}: the number of shared values must lie between 2 and 65,536")
    for where, bits in (*_given(config, "bits"), *_given(config, "bits_layers")):
        if not 1 <= bits <= 8:
            raise ConfigError(f"{where} = {bits}: must lie between 1 and 8")
    for name in _POSITIVE:
        for where, value in _given(config, name):
            if not value > 0:
                raise ConfigError(f"{where} = {value}: must be greater than zero")
    for name in _NOT_NEGATIVE:
        for where, value in _given(config, name):
            if not value >= 0:
                raise ConfigError(f"{where} = {value}: must not be negative")
    for name in _FRACTIONS:
        for where, value in _given(config, name):
            if not 0 <= value <= 1:
                raise ConfigError(f"{where} = {value}: must lie between 0 and 1")
    if config.prune_rate is not None and not 0 < config.prune_rate < 1:
        raise ConfigError(f"prune_rate = {config.prune_rate}: must lie between 0 and 1, for example 0.5")
    if config.population < 3:
        raise ConfigError(f"population = {config.population}: the evolution crosses three states; give 3 or more")
    if config.min_agreement is not None and not 0 <= config.min_agreement < 1:
        raise ConfigError(f"min_agreement = {config.min_agreement}: a cosine below 1, for example 0.9999; 0 for none")
    check_metric(config.metric)
    RunLimits.of(config.run_seconds, config.run_memory)


def _given(config: "CompressConfig", name: str) -> Iterator[tuple[str, Any]]:
    """(where, number) of a setting that isn't None; of one by layer (`k_layers`), each layer's: ("k for conv1", 4)."""
    value = getattr(config, name)
    if isinstance(value, Mapping):
        yield from ((f"{name.removesuffix('_layers')} for {layer}", number) for layer, number in value.items())
    elif value is not None:
        yield name, value


def _check_codebook(config: "CompressConfig") -> None:
    check_codebook(config.codebook)
    if config.min_agreement and (config.codebook != "tensor" or config.levels is not None):
        raise ConfigError("--min-agreement chooses the values of one codebook a tensor: leave --codebook and --levels")
    trained = config.reg != "none" or config.sharing == "straight-through" or config.quantizer != "none"
    if config.codebook != "tensor" and (trained or config.prune != "none"):
        raise ConfigError(
            f"codebook = {config.codebook!r}: regularizers, straight-through sharing, quantizers and pruning have "
            "one codebook a tensor; leave them, or take --codebook tensor"
        )


def _check_levels(config: "CompressConfig", levels: tuple[int, ...]) -> None:
    ascending = all(a < b for a, b in pairwise(levels))
    if not 1 <= len(levels) <= 16 or not ascending or levels[0] < 2 or levels[-1] > 65_536:
        raise ConfigError(f"levels = {list(levels)}: give 1 to 16 ascending numbers between 2 and 65,536: 4,16,64")
    if config.entropy > 0:
        raise ConfigError("entropy: the boundaries of --levels nest, and can't be moved for cheaper indices too")
    if config.codebook != "tensor":
        raise ConfigError(f"codebook = {config.codebook!r}: --levels nest in one codebook a tensor; leave one")
    for name in ("prune", "quantizer"):
        if getattr(config, name) != "none":
            raise ConfigError(f"--{name} {getattr(config, name)}: doesn't work together with --levels yet; leave one")


def _check_quantizer(config: "CompressConfig") -> None:
    if config.quantizer == "none":
        if config.activations is not None:
            raise ConfigError("activations: quantized ones need --quantizer dorefa or wrpn for the weights too")
        if (config.bits, config.ends) != (4, "same") or config.bits_layers:
            raise ConfigError("bits, ends: they are a quantizer's; give --quantizer dorefa or wrpn, or use --k")
    elif config.sharing == "straight-through":
        raise ConfigError(f"--quantizer {config.quantizer} already shares weights in the forward pass: leave --sharing")
    elif config.k_layers:
        raise ConfigError(f"--quantizer {config.quantizer}: the number of shared values follows from --bits, not --k")
    if config.learn_bits and config.reg != "sinreq":
        raise ConfigError("learn_bits: only --reg sinreq learns bits")
    varying = "--learn-bits" if config.learn_bits else f"--domain {config.domain}"
    if config.sharing == "straight-through" and (config.learn_bits or config.domain.endswith("raw")):
        raise ConfigError(f"{varying}: straight-through sharing needs a fixed number of levels; use --sharing after")
