"""The settings of a compression: one frozen value, the same on the command line, in TOML and in a container."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import tomli_w

from qacomp.config_checks import check_config
from qacomp.config_values import convert, type_name
from qacomp.errors import ConfigError
from qacomp.evaluation.limits import MEMORY, SECONDS, RunLimits


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
    let sub-models learn from larger ones, of which the original is the largest (see qacomp.distillation). levels:
    shared values of each level of a progressive container, ascending, the last in place of k; its levels and the
    full-precision network are trained as
    sub-models. side: precision in
    which codebooks and small vectors are stored; precision: in which training multiplies (auto: bf16 where the
    processor has matrix units for it; measuring is always fp32). batch_norm: re-estimate its statistics after sharing.
    prune: EPruning or magnitude pruning before all of that, with training (prune_epochs); prune_rate: the share of
    parameters that goes (None: energy finds its own, magnitude takes a half); prune_unit, prune_scope: of magnitude:
    single weights or filters, ranked by layer or over all; population, its start (near magnitude's state, or
    the paper's random one), prune_parents (scored again on every batch, or keep their score as in the paper),
    stagnation (epochs before the state is frozen) and prune_objective: of energy (see qacomp.pruning).
    codebook: one for each tensor, for each channel, or group:64 for so many weights of a channel (see
    qacomp.sharing.blocks); affine2, affine4 and affine8: each channel's on a grid of so many bits, with :32 each 32
    inputs' of one (see qacomp.sharing.affine).
    include, exclude: names or patterns of tensors to share (no others, and of any size) and to leave alone; min_size:
    smaller tensors aren't shared. min_agreement: the cosine of outputs for which tensors of a model without data may
    get more than k values (None: 0.9999 from k = 256 on, where outputs can be measured; 0: none).
    rounding: of k-means, to the nearest value or balanced, so that errors cancel within a channel (see
    qacomp.sharing.balancing; auto: balanced where k-means alone shares the weights).
    metric: of ONNX models on data with targets: auto, accuracy, mse, cosine, or module:function of outputs and targets.
    arch, num_classes, data, size, mean, std: for checkpoints that don't carry them. input: shapes of the inputs with
    which a TorchScript archive or a module is exported to ONNX (see qacomp.onnx_export.example_inputs); submodule: the
    part of it that is meant. run_seconds, run_memory: what a model may take while it runs to be measured (see
    qacomp.evaluation.limits).
    """

    arch: str | None = None
    num_classes: int | None = None
    data: str | None = None
    input: tuple[str, ...] = ()
    submodule: str | None = None
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
    min_agreement: float | None = None
    rounding: str = "auto"
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
    prune_start: str = "magnitude"
    prune_parents: str = "rescore"
    population: int = 8
    stagnation: int | None = None
    run_seconds: float = SECONDS
    run_memory: str = MEMORY

    def check(self) -> Self:
        """This value, if it can work; ConfigError names the first setting that can't."""
        check_config(self)
        return self

    @property
    def run_limits(self) -> RunLimits:
        """What a model may take while it runs. Raises ConfigError for a setting that can't work."""
        return RunLimits.of(self.run_seconds, self.run_memory)

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
        types = {f.name: type_name(f.type) for f in fields(self)}
        changed: dict[str, Any] = {}
        for name, value in table.items():
            if name not in types:
                raise ConfigError(f"{source}: unknown setting '{name}'; known: {', '.join(types)}")
            changed[name] = convert(source, name, value, types[name])
        return replace(self, **changed)
