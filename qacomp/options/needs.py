"""Which options work only beside others. What would change nothing is refused, never ignored.

The conditions take a CompressConfig.
"""

from qacomp.options.declaration import Config, Need, declarations
from qacomp.options.method_table import method_table
from qacomp.options.regularizer_options import RegularizerOptions
from qacomp.options.sharing_ways import SharingWay

ASSISTED = ("ipkd", "ta-1", "ta-m")
"""Ways of --distill in which sub-models learn from larger ones."""


def regularizer_options(c: Config) -> RegularizerOptions:
    """Return the hyper-parameters of --reg, a plain RegularizerOptions without one. Raise ConfigError."""
    if not c.reg.chosen:
        return RegularizerOptions()
    options: RegularizerOptions = method_table(declarations(c)["reg"]).options(c.reg)
    return options


def sharing_way(c: Config) -> SharingWay:
    """Return the hyper-parameters of --sharing. Raise ConfigError."""
    way: SharingWay = method_table(declarations(c)["sharing"]).options(c.sharing)
    return way


def rate_aware(c: Config) -> bool:
    """Return whether weights are shared by rate: --sharing rate, or a size or a quality is given."""
    asked = c.target_size is not None or c.quality != "auto" or c.calibration is not None
    return c.sharing.name == "rate" or (c.sharing.name == "auto" and asked)


def shares_in_training(c: Config) -> bool:
    """Return whether the forward pass of the fine-tuning uses the shared weights."""
    if c.quantizer.chosen or regularizer_options(c).levels_vary:
        return False
    if rate_aware(c):
        return False
    wanted = c.reg.chosen or c.levels is not None or c.distill.name in ASSISTED
    told = sharing_way(c).in_training
    return bool(wanted if told is None else told)


def fine_tunes(c: Config) -> bool:
    """Return whether all weights are trained before they are shared."""
    return bool(c.epochs != 0 and (c.reg.chosen or c.quantizer.chosen or shares_in_training(c)))


def rounds_freely(c: Config) -> bool:
    """Return whether k-means alone says which shared value a weight takes."""
    if rate_aware(c):
        return False
    plain = c.levels is None and c.codebook == "tensor" and not c.quantizer.chosen and not c.prune.chosen
    return plain and not fine_tunes(c)


def trains(c: Config) -> bool:
    """Return whether anything is trained, if there is data."""
    return fine_tunes(c) or tunes(c) or _prunes(c)


def tunes(c: Config) -> bool:
    """Return whether the shared values are tuned after sharing."""
    return bool(c.tune_epochs != 0 and (c.tune_epochs is not None or not c.quantizer.chosen))


def _prunes(c: Config) -> bool:
    return bool(c.prune.chosen and c.prune_epochs != 0)


def _regularizes(c: Config) -> bool:
    return bool(c.reg.chosen and c.epochs != 0)


def _learns_levels(c: Config) -> bool:
    """Return whether there are representatives u that are learned: a regularizer's, or those of sharing in training."""
    own = not c.reg.chosen and shares_in_training(c) and c.levels is None
    return fine_tunes(c) and (own or regularizer_options(c).levels_learned)


def _pulls(c: Config) -> bool:
    """Return whether --pull gives λ or, beside --strength, says how fast u learns."""
    speed = c.lr_levels is None or (shares_in_training(c) and c.levels is None)
    if method_table(declarations(c)["optimizer"]).options(c.optimizer).damping is None:
        return False
    return _regularizes(c) and (c.strength is None or (_learns_levels(c) and speed))


REGULARIZED = Need(lambda c: c.epochs != 0, "with --epochs 0: a regularizer works in the fine-tuning")
SHARED_IN_TRAINING = Need(lambda c: c.epochs != 0 or rate_aware(c), "with --epochs 0: it is learned in the fine-tuning")
REGULARIZER = Need(_regularizes, "without a regularizer: give --reg")
PULL = Need(_pulls, "without a regularizer (--reg), or beside --strength, which takes its place")
WARMUP = Need(lambda c: _regularizes(c) and c.schedule == "warmup", "without --reg and its --schedule warmup")
LEARNED_LEVELS = Need(
    _learns_levels,
    "unless representatives are learned: --reg min, exp, sin:range=learned, or straight-through sharing",
)
FINE_TUNED = Need(
    fine_tunes,
    "since nothing is fine-tuned: give --reg, --sharing straight-through or --quantizer; or use --tune-epochs",
)
FINE_TUNED_OR_PRUNED = Need(
    lambda c: fine_tunes(c) or _prunes(c),
    "since nothing is fine-tuned: give --reg, --sharing straight-through, --quantizer or --prune",
)
TUNED = Need(tunes, "without tuning: give --tune-epochs")
IN_BATCHES = Need(lambda c: trains(c) or c.batch_norm == "re-estimate", "since nothing is trained")
TRAINED = Need(trains, "since nothing is trained")
NO_LEVELS = Need(lambda c: c.levels is None or c.k == c.levels[-1], "beside --levels: its last one takes the place")
NO_QUANTIZER = Need(lambda c: not c.quantizer.chosen, "beside --quantizer: the number of values follows from --bits")
NO_LEARNED_BITS = Need(
    lambda c: not regularizer_options(c).bits_learned, "beside learned bits: the number of values follows from them"
)
GIVEN_BITS = Need(
    lambda c: not regularizer_options(c).bits_learned or c.quantizer.name == "wrpn",  # whose units are fitted to them
    "beside learned bits, which start from 8",
)
NO_GRID = Need(
    lambda c: not c.codebook.startswith("affine"),
    "beside --codebook affine: a grid of 2 bits has 4 values, of 4 bits 16, of 8 bits 256",
)
FREE_ROUNDING = Need(
    rounds_freely,
    "unless k-means alone shares the weights, one codebook a tensor: no --reg, --levels, --prune, --quantizer",
)
EXPORTED = Need(lambda c: bool(c.input), "without --input: it names a part to export")
NO_INCLUDE = Need(lambda c: not c.include, "beside --include, which shares tensors of any size")
PRUNED = Need(lambda c: c.prune.chosen, "without --prune")
RATE_AWARE = Need(rate_aware, "beside this --sharing: leave it, or give --sharing rate")
NO_TARGET = Need(lambda c: c.target_size is None, "beside --target-size, which says how small the file shall be")
NOT_BY_RATE = Need(lambda c: not rate_aware(c), "with rate-aware sharing: the quality or the size says how many values")
