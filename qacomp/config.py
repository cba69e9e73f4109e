"""The settings of a compression: one frozen value, the same on the command line, in TOML and in a container."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import tomli_w

from qacomp.errors import ConfigError
from qacomp.evaluation.metric_names import check_metric
from qacomp.sharing.blocks import check_codebook

SCOPES = ("all", "conv", "dense")
DISTILLATIONS = ("none", "kd", "ipkd", "ta-1", "ta-m")
SIDE_PRECISIONS = ("fp16", "exact")
DEVICES = ("auto", "cpu", "cuda")
AUGMENTATIONS = ("auto", "none", "crop-flip")
SHARINGS = ("auto", "after", "straight-through")
QUANTIZER_SCALES = ("layer", "unit")
DOMAINS = ("auto", "dorefa", "wrpn", "dorefa-raw", "wrpn-raw")
SCHEDULES = ("warmup", "constant", "tanh")
INITS = ("kmeans", "quantile", "uniform")
RANGES = ("layer", "global", "learned")
PRUNINGS = ("none", "energy", "magnitude")
PRUNE_UNITS = ("weight", "filter")
PRUNE_SCOPES = ("layer", "global")
PRUNE_STARTS = ("random", "magnitude")
BATCH_NORMS = ("keep", "re-estimate")
TRAINING_PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class CompressConfig:
    """How to compress. None means: chosen from the network and the data, and reported.

    reg: regularizer of the fine-tuning, or none. k: shared values per layer; k_layers: layer or pattern -> its own k.
    scope: which layers. sharing: after the fine-tuning as in the papers, or straight-through in it (auto: the latter
    with a regularizer); entropy: how much cheaper indices count there (see qacomp.sharing.straight_through). strength:
    the papers' λ, one for all layers; None balances the layers by `pull` instead (see qacomp.strength);
    strength_layers: layer or pattern -> its own λ. schedule,
    warmup: how λ rises, over which fraction of the steps; init: where learned representatives start; range: of the
    static regularizers, or learned; slices: a step's penalty looks at one part in so many of a layer.
    quantizer: dorefa or wrpn quantize the weights in the forward pass to `bits` (bits_layers: layer or pattern -> its
    own), which replaces k; ends: the first and the last layer's bits, same or full precision; quantizer_scale: levels
    in each layer's own units, or the papers' in [−1, 1]; activations: bits of the ReLUs' outputs. domain: whose levels
    sinreq's zeros are; learn_bits: sinreq trains each layer's bits, against bits_penalty a bit. epochs: of fine-tuning;
    tune_epochs: of cumulative tuning after sharing. lr, lr_levels (learned u; None: balanced), lr_tune: learning rates.
    distill: kd adds the original network's softened outputs (weight distill_weight, temperature); ipkd, ta-1 and ta-m
    let sub-models learn from larger ones (see qacomp.distillation). levels: shared values of each level of a
    progressive container, ascending, the last in place of k; its levels and the full-precision network are trained as
    sub-models. side: precision in
    which codebooks and small vectors are stored; precision: in which training multiplies (auto: bf16 where the
    processor has matrix units for it; measuring is always fp32). batch_norm: re-estimate its statistics after sharing.
    prune: EPruning or magnitude pruning before all of that, with training (prune_epochs); prune_rate: the share of
    parameters that goes (None: energy finds its own, magnitude takes a half); prune_unit, prune_scope: of magnitude:
    single weights or filters, ranked by layer or over all; population, its start (random, or near magnitude's state),
    stagnation (epochs before the state is frozen) and prune_objective: of energy (see qacomp.pruning).
    codebook: one for each tensor, for each channel, or group:64 for so many weights of a channel (see
    qacomp.sharing.blocks).
    include, exclude: names or patterns of tensors to share (no others, and of any size) and to leave alone; min_size:
    smaller tensors aren't shared.
    metric: of ONNX models on data with targets: auto, accuracy, mse, cosine, or module:function of outputs and targets.
    arch, num_classes, data, size, mean, std: for checkpoints that don't carry them.
    """

    arch: str | None = None
    num_classes: int | None = None
    data: str | None = None
    metric: str = "auto"
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    reg: str = "none"
    k: int = 16
    k_layers: Mapping[str, int] = field(default_factory=dict)
    levels: tuple[int, ...] | None = None
    scope: str = "all"
    codebook: str = "tensor"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_size: int = 256
    sharing: str = "auto"
    entropy: float = 0.0
    strength: float | None = None
    strength_layers: Mapping[str, float] = field(default_factory=dict)
    pull: float = 4.0
    schedule: str = "warmup"
    warmup: float = 0.5
    init: str = "kmeans"
    range: str = "layer"
    slices: int = 1
    quantizer: str = "none"
    bits: int = 4
    bits_layers: Mapping[str, int] = field(default_factory=dict)
    ends: str = "same"
    quantizer_scale: str = "layer"
    activations: int | None = None
    domain: str = "auto"
    learn_bits: bool = False
    bits_penalty: float = 0.03
    epochs: int | None = None
    tune_epochs: int | None = None
    batch_size: int = 128
    lr: float = 0.02
    lr_levels: float | None = None
    lr_tune: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 1e-4
    distill: str = "kd"
    distill_weight: float | None = None
    temperature: float | None = None
    augment: str = "auto"
    side: str = "fp16"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    batch_norm: str = "keep"
    prune: str = "none"
    prune_rate: float | None = None
    prune_unit: str = "weight"
    prune_scope: str = "layer"
    prune_epochs: int | None = None
    prune_objective: str = "energy"
    prune_start: str = "random"
    population: int = 8
    stagnation: int | None = None

    def check(self) -> Self:
        """This value, if it can work; ConfigError names the first setting that can't."""
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(known)}")
        for where, k in [("k", self.k), *((f"k for {n}", k) for n, k in self.k_layers.items())]:
            if not 2 <= k <= 65_536:
                raise ConfigError(f"{where} = {k}: the number of shared values must lie between 2 and 65,536")
        for where, bits in [("bits", self.bits), *((f"bits for {n}", b) for n, b in self.bits_layers.items())]:
            if not 1 <= bits <= 8:
                raise ConfigError(f"{where} = {bits}: must lie between 1 and 8")
        for where, strength in self.strength_layers.items():
            if not strength >= 0:
                raise ConfigError(f"strength for {where} = {strength}: must not be negative")
        self._check_quantizer()
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} = {value}: must be greater than zero")
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigError(f"{name} = {value}: must not be negative")
        for name in ("warmup", "distill_weight", "momentum"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name} = {value}: must lie between 0 and 1")
        if self.prune_rate is not None and not 0 < self.prune_rate < 1:
            raise ConfigError(f"prune_rate = {self.prune_rate}: must lie between 0 and 1, for example 0.5")
        if self.population < 3:
            raise ConfigError(f"population = {self.population}: the evolution crosses three states; give 3 or more")
        if self.prune != "none" and min([self.k, *self.k_layers.values()]) < 3:
            raise ConfigError("--prune: zero is one of the shared values; give --k of at least 3")
        check_codebook(self.codebook)
        check_metric(self.metric)
        trained = self.reg != "none" or self.sharing == "straight-through" or self.quantizer != "none"
        if self.codebook != "tensor" and (trained or self.prune != "none"):
            raise ConfigError(
                f"codebook = {self.codebook!r}: regularizers, straight-through sharing, quantizers and pruning have "
                "one codebook a tensor; leave them, or take --codebook tensor"
            )
        if self.levels is not None:
            self._check_levels(self.levels)
        return self

    def _check_levels(self, levels: tuple[int, ...]) -> None:
        ascending = all(a < b for a, b in pairwise(levels))
        if not 1 <= len(levels) <= 16 or not ascending or levels[0] < 2 or levels[-1] > 65_536:
            raise ConfigError(f"levels = {list(levels)}: give 1 to 16 ascending numbers between 2 and 65,536: 4,16,64")
        if self.entropy > 0:
            raise ConfigError("entropy: the boundaries of --levels nest, and can't be moved for cheaper indices too")
        if self.codebook != "tensor":
            raise ConfigError(f"codebook = {self.codebook!r}: --levels nest in one codebook a tensor; leave one")
        for name in ("prune", "quantizer"):
            if getattr(self, name) != "none":
                raise ConfigError(f"--{name} {getattr(self, name)}: doesn't work together with --levels yet; leave one")

    def _check_quantizer(self) -> None:
        if self.quantizer == "none":
            if self.activations is not None:
                raise ConfigError("activations: quantized ones need --quantizer dorefa or wrpn for the weights too")
            if (self.bits, self.ends) != (4, "same") or self.bits_layers:
                raise ConfigError("bits, ends: they are a quantizer's; give --quantizer dorefa or wrpn, or use --k")
        elif self.sharing == "straight-through":
            raise ConfigError(
                f"--quantizer {self.quantizer} already shares weights in the forward pass: leave --sharing"
            )
        elif self.k_layers:
            raise ConfigError(f"--quantizer {self.quantizer}: the number of shared values follows from --bits, not --k")
        if self.learn_bits and self.reg != "sinreq":
            raise ConfigError("learn_bits: only --reg sinreq learns bits")
        if self.learn_bits and self.sharing == "straight-through":
            raise ConfigError(
                "learn_bits: straight-through sharing needs a fixed number of levels; use --sharing after"
            )

    @property
    def which(self) -> dict[str, Any]:
        """The settings that say which tensors are shared, beside scope and K."""
        return {"include": self.include, "exclude": self.exclude, "min_size": self.min_size}

    def to_toml(self) -> str:
        """TOML that `from_toml` reads back to an equal value; settings that are None are left out."""
        plain = {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(self).items() if v is not None}
        plain |= {n: dict(v) for n, v in plain.items() if isinstance(v, Mapping)}
        return tomli_w.dumps(plain)

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a TOML file; ConfigError says which key or value is wrong."""
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: can't be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: not TOML: {error}") from error
        return cls().with_settings(table, str(path))

    def with_settings(self, table: Mapping[str, Any], source: str) -> Self:
        """A copy with the settings of `table` changed; `source` names where they come from in errors."""
        types = {f.name: _type_name(f.type) for f in fields(self)}
        changed: dict[str, Any] = {}
        for name, value in table.items():
            if name not in types:
                raise ConfigError(f"{source}: unknown setting '{name}'; known: {', '.join(types)}")
            changed[name] = _convert(source, name, value, types[name])
        return replace(self, **changed)


_CHOICES = {
    "scope": SCOPES,
    "distill": DISTILLATIONS,
    "side": SIDE_PRECISIONS,
    "device": DEVICES,
    "augment": AUGMENTATIONS,
    "precision": TRAINING_PRECISIONS,
    "sharing": SHARINGS,
    "batch_norm": BATCH_NORMS,
    "schedule": SCHEDULES,
    "init": INITS,
    "range": RANGES,
    "quantizer_scale": QUANTIZER_SCALES,
    "domain": DOMAINS,
    "prune": PRUNINGS,
    "prune_unit": PRUNE_UNITS,
    "prune_scope": PRUNE_SCOPES,
    "prune_start": PRUNE_STARTS,
}
_POSITIVE = ("stagnation", "batch_size", "slices", "lr", "lr_levels", "lr_tune", "temperature", "num_classes")
_NOT_NEGATIVE = (
    "strength",
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


def _type_name(annotation: Any) -> str:
    """`int`, `float | None`, `tuple[int, int] | None`, `Mapping[str, int]`."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("collections.abc.")


def _convert(source: str, name: str, value: Any, wanted: str) -> Any:
    """`value` as the field's type; TOML and the command line give lists for tuples and ints for floats."""
    wrong = ConfigError(f"{source}: {name} = {value!r} has the wrong type; expected {wanted}")
    if value is None:
        return None
    if wanted.startswith("tuple[str"):
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise wrong
        return tuple(value)
    if wanted.startswith("tuple"):
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, (int, float)) for v in value):
            raise wrong
        return tuple(int(v) if "int" in wanted else float(v) for v in value)
    if wanted.startswith("Mapping"):
        kinds = (int,) if "int" in wanted else (int, float)
        if not isinstance(value, Mapping) or not all(type(v) in kinds for v in value.values()):
            raise wrong
        return {n: int(v) if "int" in wanted else float(v) for n, v in value.items()}
    if wanted.startswith("bool"):
        if not isinstance(value, bool):
            raise wrong
        return value
    if wanted.startswith("float"):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong
        return float(value)
    if (wanted.startswith("int") and type(value) is not int) or (
        wanted.startswith("str") and not isinstance(value, str)
    ):
        raise wrong
    return value
