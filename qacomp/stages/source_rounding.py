"""Choose how the weights of a source that isn't trained are rounded: on uniform grids, or on a trellis."""

from collections.abc import Callable

from qacomp.options.config import CompressConfig
from qacomp.options.needs import may_be_on_trellis, on_trellis
from qacomp.rate.sharing import RateSharing

_MOST = 1 << 23  # weights: a search rounds some 10 times, which takes 4 s for a million each time (512 rows of 768)


def rounded_by_choice(
    sharing: RateSharing, config: CompressConfig, on_texts: bool, note: Callable[[str], None]
) -> RateSharing:
    """Return the weights on a trellis where that is asked for, or where the settings leave it open and it pays.

    on_texts: whether a transformer is calibrated on texts. Larger models stay on uniform grids, which are far quicker
    to round; a note says so. So do weights near those of a base.
    """
    if on_trellis(config):
        return sharing.on_trellis()
    if not on_texts or not may_be_on_trellis(config) or sharing.base:
        return sharing
    found = sharing.on_trellis()
    count = sum(found.weights[name].values.size for name in found.trellis)
    if count > _MOST:
        note(
            f"rounded on uniform grids: a trellis takes fewer bytes, but long for {count:,} weights; --sharing "
            "rate:trellis=true asks for it"
        )
        return sharing
    return found
