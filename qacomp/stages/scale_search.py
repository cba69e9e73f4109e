"""Search the scale of all steps of a source: the best model of a size, or the smallest one of a quality."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import mul
from typing import Self

from qacomp.errors import TargetNotReachedError
from qacomp.evaluation.verdict import GOOD, UNMEASURED
from qacomp.options.config import CompressConfig
from qacomp.options.file_size import file_size
from qacomp.options.quality import QUALITY
from qacomp.rate.quality import DISTANCES
from qacomp.rate.search import largest_scale, scale_for_size
from qacomp.sources.source_size import SourceSize
from qacomp.stages.fill_size import finer_steps, with_figures
from qacomp.stages.made import Made
from qacomp.stages.run import Run
from qacomp.stages.scaled import Scaled
from qacomp.stages.trial_log import TrialLog

ATTEMPTS = 4
"""Most trials until the file has the target size."""
_WITHIN = 0.01  # fraction of the target size by which the file may be smaller
_NEAR_BASE = 1.25  # factor on the steps of a base, up to which its own are taken: a third of a bit a weight
_OF_BASE = 0.9  # of the target size: a smaller file than that gets finer steps than its base has
_FILLS = 3  # trials of finer steps for single tensors
_FINER, _MOST_FINER = 0.7, 16  # of the steps, and how often, until the verdict is good: a bit a weight is half


@dataclass(frozen=True)
class Asked:
    """The size of a file that the user asks for. text: as written; most: in bytes."""

    text: str
    most: int

    @classmethod
    def of(cls, config: CompressConfig, size: SourceSize) -> Self:
        """Return the size that --target-size names, for a source of this size."""
        text = config.target_size or ""
        return cls(text, file_size(text, size.fp32))

    def left(self, rest: int) -> int:
        """Return the bytes that `rest`, those of the graph, norms and metadata, leave for shared tensors."""
        if self.most > rest:
            return self.most - rest
        raise TargetNotReachedError(
            f"--target-size {self.text}: the graph, norms and metadata alone take {rest:,} bytes; give a larger size"
        )

    def is_met(self, size: int) -> bool:
        """Return whether a file of this size is as small as asked for, or up to 1 % smaller."""
        return self.most * (1 - _WITHIN) <= size <= self.most

    def nearest(self, made: Made, size: int) -> Made:
        """Return `made`, which says that it misses the size, if it is smaller; raise TargetNotReachedError if not."""
        if size > self.most:
            raise TargetNotReachedError(
                f"--target-size {self.text}: {size:,} bytes was reached at best; give a larger size"
            )
        why = "no steps were found that come nearer" if made.selection.layers else "with all weights exact"
        return replace(made, missed=f"--target-size {self.text}: the file has {size:,} bytes, {why}")


def made_for_size(scaled: Scaled, rest: int, asked: Asked, run: Run) -> Made:
    """Return the model whose file is as large as asked for, or up to 1 % smaller.

    rest: bytes beside the shared tensors, as a first guess. Raises TargetNotReachedError for a size out of reach. A
    file that is smaller than that, since no steps come nearer, says so in `missed`.
    """
    scale, log = 1.0, TrialLog(scaled)
    if scaled.based and (found := _as_the_base(scaled, log, asked)) is not None:
        return found
    for _ in range(ATTEMPTS):
        with run.stage("share"):
            scale = scale_for_size(log.weight_bytes, asked.left(rest), start=scale, estimate=scaled.estimate)
        made = scaled.made(scale)
        size = scaled.whole_bytes(made)
        if asked.is_met(size):
            break
        before, rest = rest, size - log.weight_bytes(scale)
        if size <= asked.most and abs(rest - before) < _WITHIN * asked.most / 4:
            break  # the same search would find the same scale
    with run.stage("share"):
        made = replace(made, search=log.chosen(scale))
    if size < asked.most and not asked.is_met(size):
        made, size = _filled(scaled, scale, (made, size), asked, run)
    return made if asked.is_met(size) else asked.nearest(made, size)


def _as_the_base(scaled: Scaled, log: TrialLog, asked: Asked) -> Made | None:
    """Return the model with the steps of its base if its file is small enough, and not far smaller; else None."""
    made = scaled.made(1.0)
    if asked.most * _OF_BASE <= scaled.whole_bytes(made) <= asked.most:
        return replace(made, search=log.chosen(1.0))
    return None


def _filled(scaled: Scaled, scale: float, found: tuple[Made, int], asked: Asked, run: Run) -> tuple[Made, int]:
    """Return the model with finer steps for single tensors and its bytes, or `found` if that is as near the size."""
    made, size = found
    left = asked.left(size - scaled.searched_bytes(scale))
    for _ in range(_FILLS):
        with run.stage("share"):
            factors = finer_steps(scaled, scale, left, scaled.order)
        if not factors:
            break
        fine = scaled.finer(factors)
        other = fine.made(scale)
        now = fine.whole_bytes(other)
        if now <= asked.most:
            if now <= size:
                break
            assert made.search is not None
            return replace(other, search=with_figures(made.search, fine, factors)), now
        left -= now - asked.most  # tuning changed what the rest takes
    return found


def made_for_quality(scaled: Scaled, config: CompressConfig, run: Run) -> Made:
    """Return the smallest model whose outputs move no further than --quality allows; see `DISTANCES`.

    Except for --quality small the verdict must be good too, if there is one: steps are made finer until it is. With
    labels the validation split decides that. Raises TargetNotReachedError if no steps keep the outputs. With --prune
    the outputs are compared with the pruned network's, and the verdict decides nothing: it judges the pruning too.
    """
    log = TrialLog(scaled)
    scale = scale_for_quality(log.distance, config, run)
    if config.quality == "small" or config.prune.chosen:
        scale = _base_or(scale, scaled, lambda: log.distance(1.0) <= DISTANCES[quality_word(config)])
        return replace(scaled.made(scale), search=log.chosen(scale))
    found = _first_good(log, scale)
    if found is not None:
        found = _base_or(found, scaled, lambda: log.validated(1.0).good)
        again = 2 if log.validated(found).of_few else 0
        for scale in accumulate([_FINER] * again, mul, initial=found):
            made = scaled.made(scale)
            verdict = made.measured.verdict
            if verdict.word in (GOOD, UNMEASURED):
                return replace(made, search=log.chosen(scale))
        # by labels the samples that are reported decide no step; by outputs, where there are few of both, they may
        raise TargetNotReachedError(
            f"--quality {quality_word(config)}: good where samples decide, but on those that are reported: {verdict}; "
            "give more labelled samples, or --quality small"
        )
    verdict = log.validated(log.finest_validated).verdict
    raise TargetNotReachedError(
        f"--quality {quality_word(config)}: the finest steps that were tried still give: {verdict}; give --quality "
        "small, or --calibration with inputs of your own"
    )


def _base_or(scale: float, scaled: Scaled, good: Callable[[], bool]) -> float:
    """Return scale 1, which has the steps of a base, if they are near those of a scale and good; else that scale."""
    near = scaled.based and _FINER <= scale <= _NEAR_BASE
    return 1.0 if near and good() else scale


def _first_good(log: TrialLog, scale: float) -> float | None:
    """Return the first scale that is good where samples decide, from `scale` to finer ones; None if none of them is.

    Of a model that is tuned, the first one that is good before tuning says where to look. Tuning takes most of the
    time, and mostly makes one scale good that is coarser than that: so the scale before it is tuned first, unless the
    errors of its weights alone are too large.
    """
    scales = list(accumulate([_FINER] * _MOST_FINER, mul, initial=scale))

    def is_good(number: int) -> bool:
        untuned = log.before_tuning if number < _MOST_FINER else None  # the finest one tells why none is good
        if untuned is not None and untuned(scales[number]).beyond_tuning:
            return False
        return log.validated(scales[number]).good

    start = 0
    if log.before_tuning is not None:
        start = max(0, next((i for i, s in enumerate(scales) if log.before_tuning(s).good), 0) - 1)
    good = next((i for i in range(start, len(scales)) if is_good(i)), None)
    if good is None:
        return None
    bad, farther = (good - 1, 1) if good > start else (-1, 1)
    while bad < 0 < good:  # coarser scales weren't tried
        tried = max(0, good - farther)
        if is_good(tried):
            good, farther = tried, 2 * farther
        else:
            bad = tried
    while good - bad > 1:
        middle = (bad + good) // 2
        if is_good(middle):
            good = middle
        else:
            bad = middle
    return scales[good]


def scale_for_quality(distance: Callable[[float], float], config: CompressConfig, run: Run) -> float:
    """Return the largest scale at which the outputs move no further than --quality allows; see `DISTANCES`."""
    word = quality_word(config)
    with run.stage("share"):
        scale = largest_scale(lambda scale: distance(scale) <= DISTANCES[word])
    if scale is None:
        raise TargetNotReachedError(
            f"--quality {word}: even the finest grids change the outputs too much; give --quality small"
        )
    return scale


def quality_word(config: CompressConfig) -> str:
    """Return the quality that the settings ask for: a key of `DISTANCES`."""
    return QUALITY if config.quality == "auto" else config.quality
