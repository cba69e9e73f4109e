"""Define the conditions under which options have an effect; an option without effect is refused, not ignored.

The conditions are functions of a CompressConfig.
"""

from qacomp.options.declaration import Config, Need, declarations
from qacomp.options.file_size import sizes_of
from qacomp.options.method_table import method_table
from qacomp.options.regularizer_options import RegularizerOptions
from qacomp.options.sharing_ways import SharingWay


def regularizer_options(c: Config) -> RegularizerOptions:
    """Return the hyper-parameters of --reg, or a plain RegularizerOptions without --reg. Raises ConfigError."""
    if not c.reg.chosen:
        return RegularizerOptions()
    options: RegularizerOptions = method_table(declarations(c)["reg"]).options(c.reg)
    return options


def sharing_way(c: Config) -> SharingWay:
    """Return the hyper-parameters of --sharing. Raises ConfigError."""
    way: SharingWay = method_table(declarations(c)["sharing"]).options(c.sharing)
    return way


def trellis(c: Config) -> str:
    """Return what --sharing rate:trellis says: false, auto or true; false for another way of sharing."""
    return str(getattr(sharing_way(c), "trellis", "false"))


def trellis_given(c: Config) -> bool:
    """Return whether the user says how --sharing rate:trellis is to be, so that it is told where it has no effect."""
    return "trellis" in c.sharing.given


def rounded_once(c: Config) -> bool:
    """Return whether weights shared by rate are rounded once: not in training, nor at several sizes."""
    return not c.epochs and not sized_levels(c)


def rate_aware(c: Config) -> bool:
    """Return whether weights are shared by rate: with --sharing rate, and unless the settings ask for k-means.

    --target-size, --quality, --max-drop and --calibration ask for it too.
    """
    if c.sharing.name != "auto":
        return bool(c.sharing.name == "rate")
    asked = c.target_size is not None or c.quality != "auto" or c.calibration is not None or c.max_drop is not None
    return asked or not _asks_for_clusters(c)


def limited(c: Config) -> bool:
    """Return whether the steps of rate-aware sharing are searched within --max-drop or --min-agreement."""
    return rate_aware(c) and bool(c.max_drop is not None or c.min_agreement)


def _asks_for_clusters(c: Config) -> bool:
    """Return whether a setting has an effect with k-means alone, or with a form of the weights of its own."""
    numbers = c.k is not None or c.k_layers or c.levels is not None or c.min_agreement == 0
    methods = c.reg.chosen or c.quantizer.chosen or c.prune.chosen or assisted(c)
    return bool(numbers or methods or c.codebook != "tensor" or c.rounding != "auto")


def sized_levels(c: Config) -> int:
    """Return how many levels --target-size asks for by several sizes: 50KB,100KB; 0 for one size or none."""
    count = 0 if c.target_size is None else len(sizes_of(c.target_size))
    return count if count > 1 else 0


def level_numbers(c: Config) -> tuple[int, ...] | None:
    """Return the numbers that name a file's levels, the coarsest first; None for one level.

    They are the numbers of shared values of --levels, or 1, 2, ... for the sizes of --target-size.
    """
    return c.levels if not sized_levels(c) else tuple(range(1, sized_levels(c) + 1))


def vector_precision(c: Config) -> str:
    """Return the precision of biases and norms in the file.

    By rate it is fp12, whose error of at most 1/128 of a value is far below that of weights on grids; except for
    --quality high and for --min-agreement, which may ask for more.
    """
    coarse = rate_aware(c) and c.stored_precision == "fp16" and c.quality != "high" and not c.min_agreement
    return "fp12" if coarse else str(c.stored_precision)


def assisted(c: Config) -> bool:
    """Return whether --distill lets sub-models learn from larger ones. Raises ConfigError."""
    if c.distill.name in ("none", "kd"):  # the usual cases need no torch
        return False
    return bool(method_table(declarations(c)["distill"]).options(c.distill).among_submodels)


def shares_in_training(c: Config) -> bool:
    """Return whether the forward pass of the fine-tuning uses the shared weights."""
    if c.quantizer.chosen or regularizer_options(c).levels_vary:
        return False
    if rate_aware(c):
        return False
    wanted = c.reg.chosen or c.levels is not None or assisted(c)
    told = sharing_way(c).in_training
    return bool(wanted if told is None else told)


def fine_tunes(c: Config) -> bool:
    """Return whether all weights are trained before they are shared."""
    if rate_aware(c) and not c.reg.chosen:
        # None too: weights are shared by rate without training unless --epochs asks for it; several sizes always are
        return bool(c.epochs and not sized_levels(c))
    return bool(c.epochs != 0 and (c.reg.chosen or c.quantizer.chosen or shares_in_training(c) or _plainly(c)))


def _plainly(c: Config) -> bool:
    """Return whether weights are fine-tuned on the task alone, before k-means shares them: the papers' baseline."""
    return bool(c.epochs and c.sharing.name == "after" and not rate_aware(c))


def trains_unlabelled(c: Config) -> bool:
    """Return whether --epochs, without --data, trains the weights by rate towards the original's outputs."""
    return rate_aware(c) and bool(c.epochs) and not sized_levels(c)


def rounds_freely(c: Config) -> bool:
    """Return whether k-means alone decides the shared value of each weight, so that rounding can be balanced."""
    if rate_aware(c):
        return False
    plain = c.levels is None and c.codebook == "tensor" and not c.quantizer.chosen and not c.prune.chosen
    return plain and not fine_tunes(c)


def trains(c: Config) -> bool:
    """Return whether anything would be trained if there were data."""
    return fine_tunes(c) or tunes(c) or _prunes(c)


def tunes(c: Config) -> bool:
    """Return whether the shared values are tuned after sharing."""
    return bool(c.tune_epochs != 0 and (c.tune_epochs is not None or not c.quantizer.chosen))


def _prunes(c: Config) -> bool:
    return bool(c.prune.chosen and method_table(declarations(c)["prune"]).options(c.prune).epochs != 0)


def _regularizes(c: Config) -> bool:
    return bool(c.reg.chosen and c.epochs != 0)


def _learns_levels(c: Config) -> bool:
    """Return whether shared values are learned in the fine-tuning: by a regularizer, or by sharing in training."""
    own = not c.reg.chosen and shares_in_training(c) and c.levels is None
    return fine_tunes(c) and (own or regularizer_options(c).levels_learned)


def _pulls(c: Config) -> bool:
    """Return whether --pull has an effect, on the balanced λ."""
    balances = method_table(declarations(c)["optimizer"]).options(c.optimizer).damping is not None
    return balances and _regularizes(c) and c.strength is None


REGULARIZED = Need(lambda c: c.epochs != 0, "with --epochs 0, since a regularizer acts in the fine-tuning")
SHARED_IN_TRAINING = Need(lambda c: c.epochs != 0 or rate_aware(c), "with --epochs 0, since it acts in the fine-tuning")
REGULARIZER = Need(_regularizes, "without a regularizer; give --reg")
PULL = Need(_pulls, "without a regularizer (--reg), or together with --strength, which replaces it")
LEARNED_LEVELS = Need(
    _learns_levels,
    "unless shared values are learned; give --reg min, exp or sin:range=learned, or --sharing straight-through",
)
FINE_TUNED = Need(
    fine_tunes,
    "since nothing is fine-tuned; give --reg, --quantizer, --sharing straight-through or, to fine-tune on the task "
    "alone, --sharing after; or leave out --k and what else asks for k-means",
)
FINE_TUNED_OR_PRUNED = Need(
    lambda c: fine_tunes(c) or _prunes(c),
    "since nothing is fine-tuned; give --epochs, --reg, --sharing straight-through, --quantizer or --prune",
)
TUNED = Need(tunes, "without tuning; give --tune-epochs")
IN_BATCHES = Need(lambda c: trains(c) or c.batch_norm == "re-estimate", "since nothing is trained")
TRAINED = Need(trains, "since nothing is trained")
NO_LEVELS = Need(
    lambda c: c.levels is None or c.k == c.levels[-1], "together with --levels, whose last number is used instead"
)
NO_QUANTIZER = Need(
    lambda c: not c.quantizer.chosen, "together with --quantizer; the number of shared values follows from --bits"
)
NO_LEARNED_BITS = Need(
    lambda c: not regularizer_options(c).bits_learned,
    "together with learned bits, from which the number of shared values follows",
)
GIVEN_BITS = Need(
    lambda c: not regularizer_options(c).bits_learned,
    "together with learned bits, which start from 8",
)
NO_GRID = Need(
    lambda c: not c.codebook.startswith("affine"),
    "together with --codebook affine, whose bits give the number of values: affine2 has 4, affine4 16, affine8 256",
)
FREE_ROUNDING = Need(
    rounds_freely,
    "unless k-means alone shares the weights; leave out --reg, --levels, --prune, --quantizer and --codebook",
)
EXPORTED = Need(lambda c: bool(c.input), "without --input, since it names the part to export")
NO_INCLUDE = Need(lambda c: not c.include, "together with --include, which shares tensors of any size")
RATE_AWARE = Need(rate_aware, "with this --sharing; leave --sharing out, or give --sharing rate")
NO_TARGET = Need(lambda c: c.target_size is None, "together with --target-size, which sets the size of the file")
NO_LIMIT = Need(
    lambda c: not limited(c), "together with --max-drop or --min-agreement, which say how much the outputs may change"
)
AGREEMENT_BY_RATE = Need(
    lambda c: not rate_aware(c) or c.min_agreement != 0, "with rate-aware sharing if it is 0; leave it out"
)
NOT_TRAINED_BY_RATE = Need(
    lambda c: not (rate_aware(c) and fine_tunes(c)), "together with training by rate; give --max-drop, or --epochs 0"
)
COUNTED_LEVELS = Need(
    lambda c: not rate_aware(c), "with rate-aware sharing, whose levels are sizes; give --target-size 50KB,100KB"
)
NORMS_KEPT = Need(
    lambda c: not rate_aware(c), "with rate-aware sharing, which tunes norms instead; give --k to share by k-means"
)
NOT_BY_RATE = Need(
    lambda c: not rate_aware(c), "with rate-aware sharing, where the quality or the size sets the number of values"
)
