"""Choose how the weights of a source that isn't trained are rounded: on uniform grids, or on a trellis."""

from collections.abc import Callable

from qacomp.options.config import CompressConfig
from qacomp.options.needs import rounded_once, trellis, trellis_given
from qacomp.rate.sharing import RateSharing

_MOST = 1 << 23  # weights: a search rounds some 10 times, which takes 4 s for a million each time (512 rows of 768)
AS_THE_BASE = "--sharing rate:trellis=auto: weights are rounded as in --base, on uniform grids or on a trellis"
"""The note of weights near those of a base."""


def on_uniform_grids(why: str) -> str:
    """Return the note that --sharing rate:trellis=auto leaves the weights on uniform grids, with the reason."""
    return f"--sharing rate:trellis=auto: rounded on uniform grids, {why}"


def count_on_trellis(sharing: RateSharing) -> int:
    """Return how many weights are in tensors for which a trellis is tried."""
    return sum(sharing.weights[name].values.size for name in sharing.trellis)


def rounded_by_choice(
    sharing: RateSharing, config: CompressConfig, on_texts: bool, note: Callable[[str], None]
) -> RateSharing:
    """Return the weights on a trellis where that is asked for; with `auto` only those of a small transformer.

    on_texts: whether a transformer is calibrated on texts. All others stay on uniform grids, and so do those of a
    larger model, since uniform grids are far quicker to round; a note says why where `auto` was given. Weights near
    those of a base are rounded as they are there.
    """
    if not rounded_once(config) or trellis(config) == "false":
        return sharing
    found = sharing.on_trellis()
    if trellis(config) == "true":
        return found
    why = None
    if sharing.base:
        why = AS_THE_BASE
    elif not on_texts:
        why = on_uniform_grids("since a trellis is tried in PyTorch networks and in folders with --calibration alone")
    elif (count := count_on_trellis(found)) > _MOST:
        why = on_uniform_grids(f"since a trellis would take long for {count:,} weights; rate:trellis=true asks for it")
    if why is None:
        return found
    if trellis_given(config):
        note(why)
    return sharing
