"""Which settings work only beside others, in one table: what would change nothing is refused, never ignored.

A setting counts as given where it differs from its default.
"""

from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from qacomp.errors import ConfigError

if TYPE_CHECKING:
    from qacomp.config import CompressConfig

ASSISTED = ("ipkd", "ta-1", "ta-m")
"""Ways of --distill in which sub-models learn from larger ones."""
_PERIODIC, _NEAREST = ("sin", "cos"), ("min", "exp")
_AS_IT_IS = {
    "sharing": "after",
    "rounding": "nearest",
    "epochs": 0,
    "tune_epochs": 0,
    "prune_epochs": 0,
    "distill": "none",
    "augment": "none",
    "precision": "fp32",
    "device": "cpu",
}
"""Values that only say that something isn't done: true wherever it can't be."""


def shares_in_training(c: "CompressConfig") -> bool:
    """Whether the forward pass of the fine-tuning uses the shared weights already (--sharing straight-through)."""
    if c.quantizer != "none" or _levels_vary(c):
        return False
    wanted = c.reg != "none" or c.levels is not None or c.distill in ASSISTED
    return c.sharing == "straight-through" or (c.sharing == "auto" and wanted)


def fine_tunes(c: "CompressConfig") -> bool:
    """Whether all weights are trained before they are shared."""
    return c.epochs != 0 and (c.reg != "none" or c.quantizer != "none" or shares_in_training(c))


def rounds_freely(c: "CompressConfig") -> bool:
    """Whether it is k-means, and nothing else, that says which shared value a weight takes."""
    plain = c.levels is None and c.codebook == "tensor" and c.quantizer == "none" and c.prune == "none"
    return plain and not fine_tunes(c)


def trains(c: "CompressConfig") -> bool:
    """Whether anything is trained, if there is data."""
    return fine_tunes(c) or _tunes(c) or _prunes(c)


def _levels_vary(c: "CompressConfig") -> bool:
    """Whether a regularizer's number of levels follows the weights, so that it can't be shared by in training."""
    return c.learn_bits or (c.reg == "sinreq" and c.domain.endswith("raw"))


def _tunes(c: "CompressConfig") -> bool:
    return c.tune_epochs != 0 and (c.tune_epochs is not None or c.quantizer == "none")


def _prunes(c: "CompressConfig") -> bool:
    return c.prune != "none" and c.prune_epochs != 0


def _regularizes(c: "CompressConfig") -> bool:
    return c.reg != "none" and c.epochs != 0


def _may_be(c: "CompressConfig", *names: str) -> bool:
    """Whether the regularizer is one of these, or one that a user registered, which may read any setting."""
    return c.reg in names or c.reg not in ("none", *_PERIODIC, *_NEAREST, "sinreq")


def _starts_levels(c: "CompressConfig") -> bool:
    """Whether there are representatives u that start somewhere and are learned."""
    own = c.reg == "none" and shares_in_training(c) and c.levels is None
    return fine_tunes(c) and (_may_be(c, *_NEAREST) or own)


def _learns_levels(c: "CompressConfig") -> bool:
    return _starts_levels(c) or (fine_tunes(c) and _may_be(c, *_PERIODIC) and c.range == "learned")


def _pulls(c: "CompressConfig") -> bool:
    """The pull gives λ; where --strength does, still how fast u learns, from its penalty or in shared weights."""
    speed = c.lr_levels is None or (shares_in_training(c) and c.levels is None)
    return _regularizes(c) and (c.strength is None or (_learns_levels(c) and speed))


@dataclass(frozen=True)
class Need:
    """The `settings` change nothing unless `holds`; `reason` goes on from "has no effect"."""

    settings: tuple[str, ...]
    holds: Callable[["CompressConfig"], bool]
    reason: str


NEEDS = (
    Need(("reg",), lambda c: c.epochs != 0, "with --epochs 0: a regularizer works in the fine-tuning"),
    Need(("sharing",), lambda c: c.epochs != 0, "with --epochs 0: it is learned in the fine-tuning"),
    Need(("strength", "strength_layers", "schedule", "slices"), _regularizes, "without a regularizer: give --reg"),
    Need(("pull",), _pulls, "without a regularizer (--reg), or beside --strength, which takes its place"),
    Need(("warmup",), lambda c: _regularizes(c) and c.schedule == "warmup", "without --reg and its --schedule warmup"),
    Need(("init",), _starts_levels, "unless representatives are learned: --reg min or exp, --sharing straight-through"),
    Need(("range",), lambda c: _regularizes(c) and _may_be(c, *_PERIODIC), "without --reg sin or cos"),
    Need(("domain", "learn_bits"), lambda c: _regularizes(c) and _may_be(c, "sinreq"), "without --reg sinreq"),
    Need(("bits_penalty",), lambda c: c.learn_bits, "without --learn-bits"),
    Need(("lr_levels",), _learns_levels, "unless representatives are learned: --reg min or exp, --range learned"),
    Need(
        ("entropy",),
        lambda c: fine_tunes(c) and shares_in_training(c),
        "without straight-through sharing in a fine-tuning: give --sharing straight-through",
    ),
    Need(
        ("epochs",),
        fine_tunes,
        "since nothing is fine-tuned: give --reg, --sharing straight-through or --quantizer; or use --tune-epochs",
    ),
    Need(
        ("lr", "momentum", "weight_decay"),
        lambda c: fine_tunes(c) or _prunes(c),
        "since nothing is fine-tuned: give --reg, --sharing straight-through, --quantizer or --prune",
    ),
    Need(("lr_tune",), _tunes, "without tuning: give --tune-epochs"),
    Need(("batch_size",), lambda c: trains(c) or c.batch_norm == "re-estimate", "since nothing is trained"),
    Need(("augment", "precision", "distill"), trains, "since nothing is trained"),
    Need(
        ("distill_weight", "temperature"),
        lambda c: trains(c) and c.distill != "none",
        "without a teacher: --distill, in a training",
    ),
    Need(("k",), lambda c: c.levels is None or c.k == c.levels[-1], "beside --levels: its last one takes the place"),
    Need(("k",), lambda c: c.quantizer == "none", "beside --quantizer: the number of values follows from --bits"),
    Need(("k", "k_layers"), lambda c: not c.learn_bits, "beside --learn-bits: the number of values follows from them"),
    Need(
        ("bits", "bits_layers"),
        lambda c: not c.learn_bits or c.quantizer == "wrpn",  # whose units are fitted to them
        "beside --learn-bits, which starts from 8",
    ),
    Need(
        ("k", "k_layers"),
        lambda c: not c.codebook.startswith("affine"),
        "beside --codebook affine: a grid of 2 bits has 4 values, of 4 bits 16, of 8 bits 256",
    ),
    Need(
        ("rounding",),
        rounds_freely,
        "unless k-means alone shares the weights, one codebook a tensor: no --reg, --levels, --prune, --quantizer",
    ),
    Need(("submodule",), lambda c: bool(c.input), "without --input: it names a part to export"),
    Need(("min_size",), lambda c: not c.include, "beside --include, which shares tensors of any size"),
    Need(("quantizer_scale",), lambda c: c.quantizer != "none", "without --quantizer"),
    Need(("prune_rate", "prune_epochs"), lambda c: c.prune != "none", "without --prune"),
    Need(("prune_unit", "prune_scope"), lambda c: c.prune == "magnitude", "without --prune magnitude"),
    Need(
        ("prune_objective", "prune_start", "prune_parents", "population", "stagnation"),
        lambda c: c.prune == "energy",
        "without --prune energy",
    ),
)


def check_effects(config: "CompressConfig") -> None:
    """Raises ConfigError for a setting that was given and changes nothing beside the others."""
    for need in NEEDS:
        for name in given(config, need.settings):
            if not need.holds(config):
                raise ConfigError(f"{flag(name)}: has no effect {need.reason}")


def leave_out(
    config: "CompressConfig", used: Collection[str], note: Callable[[str], None], why: str
) -> "CompressConfig":
    """`config` with all settings but `used` at their defaults; `note` says `why`, and which of them were given."""
    unused = [field for field in fields(config) if field.name not in used]
    if names := given(config, [field.name for field in unused]):
        note(f"{why}; without effect: {', '.join(map(flag, names))}")
    return replace(config, **{field.name: _default(field) for field in unused})


def given(config: "CompressConfig", names: Collection[str]) -> list[str]:
    """Those of `names` that were given a value, which asks for something."""
    defaults = {field.name: _default(field) for field in fields(config)}
    values = {name: getattr(config, name) for name in names}
    return [n for n, value in values.items() if value != defaults[n] and value != _AS_IT_IS.get(n, defaults[n])]


def flag(name: str) -> str:
    """A setting as the command line has it: `--lr-levels`, `--k LAYER=...`."""
    if name.endswith("_layers"):
        return f"--{name.removesuffix('_layers')} LAYER=..."
    return "--" + name.replace("_", "-")


def _default(field: "Field[Any]") -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default
