"""Choose how a network's weights are rounded: on a trellis where its outputs then move less at equal bytes."""

import math
from dataclasses import replace

from qacomp.options.needs import rounded_once, trellis, trellis_given
from qacomp.rate.quality import DISTANCES
from qacomp.rate.search import largest_scale, scale_for_size
from qacomp.stages.network_on_grids import NetworkOnGrids
from qacomp.stages.scale_search import quality_word
from qacomp.stages.scaled import Scaled
from qacomp.stages.source_rounding import AS_THE_BASE, count_on_trellis, on_uniform_grids

_LEAST = 1 << 17  # weights: nothing was measured with fewer, of which graph and metadata take most bytes
_MOST = 1 << 19  # weights: a search rounds some 20 times, which takes 8 s for a million (benchmark `trellis`)
_NARROW = 1.3  # ratio of the last two scales: the choice isn't that of the steps
_APART = 1.15  # factor on the scale, by which the two uniform files are coarser and finer than the middle


def with_chosen_rounding(task: NetworkOnGrids) -> NetworkOnGrids:
    """Return the task with weights on a trellis where that is asked for; with `auto` where it pays. A note tells it.

    Both ways are measured before tuning, near the scale at which the search will end. Weights near a base are
    rounded as they are there. Those of a very small network stay on uniform grids, and of a large one, since rounding
    on a trellis is slow; that is told only where `auto` was given.
    """
    job, sharing = task.job, task.found.sharing
    if not rounded_once(job.config) or trellis(job.config) == "false":
        return task
    other = replace(task, found=replace(task.found, sharing=sharing.on_trellis()))
    if trellis(job.config) == "true":
        return other
    why: str | None
    gain, count = 0.0, count_on_trellis(other.found.sharing)
    if sharing.base:
        why = AS_THE_BASE
    elif count < _LEAST:
        why = on_uniform_grids(f"since a trellis is tried for {_LEAST:,} weights or more, and suits {count:,} here")
    elif count > _MOST:
        why = on_uniform_grids(f"since a trellis would take long for {count:,} weights; rate:trellis=true asks for it")
    else:
        with job.run.stage("share"):
            gain = _gain(task, other)
        why = None if gain > 0 else on_uniform_grids("since on a trellis outputs move no less at equal bytes")
    if why is not None:
        if trellis_given(job.config):
            job.run.note(why)
        return task
    job.run.note(f"rounded on a trellis: outputs move about {gain:.0%} less than on uniform grids at equal bytes")
    return other


def _gain(uniform: NetworkOnGrids, trellis: NetworkOnGrids) -> float:
    """Return by which part the outputs move less on a trellis at equal bytes; 0 where that can't be told."""
    plain, on = uniform.scaled(tuned=False), trellis.scaled(tuned=False)
    scale = _scale(uniform, plain)
    size, distance = on.shared_bytes(scale), on.distance(scale)
    fine, coarse = ((plain.shared_bytes(s), plain.distance(s)) for s in (scale / _APART, scale * _APART))
    if not min(distance, fine[1], coarse[1]) > 0 or not fine[0] > coarse[0]:
        return 0.0
    slope = math.log(coarse[1] / fine[1]) / math.log(coarse[0] / fine[0])
    equal = fine[1] * math.exp(slope * math.log(size / fine[0]))  # of uniform grids at the bytes of the trellis
    return 1 - distance / equal


def _scale(task: NetworkOnGrids, plain: Scaled) -> float:
    """Return about the scale at which the search will end: that of the size, by an estimate, or of the quality."""
    config = task.job.config
    if config.target_size is not None:
        return scale_for_size(lambda scale: round(task.found.sharing.estimate(scale)), task.asked().most)
    most = DISTANCES[quality_word(config)]
    return largest_scale(lambda scale: plain.distance(scale) <= most, narrow=_NARROW) or 1.0
