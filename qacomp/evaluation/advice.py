"""Say which settings give a more exact model than the present ones, for the advice of a verdict."""

from qacomp.options.config import CompressConfig
from qacomp.options.needs import rate_aware
from qacomp.options.quality import QUALITIES

_MOST_K = 256  # from this K on, more values for the tensors that need them are advised, not a larger K


def finer_settings(config: CompressConfig) -> str | None:
    """Return the setting to try for a more exact model; None if no single setting does that."""
    if rate_aware(config):
        if config.target_size is not None:
            return "a larger --target-size"
        finer = QUALITIES[: QUALITIES.index(config.quality)] if config.quality in QUALITIES else ()
        return f"--quality {finer[-1]}" if finer else None
    if config.k is None or config.levels is not None or config.codebook != "tensor":
        return None
    return f"--k {4 * config.k}" if config.k < _MOST_K else "--min-agreement 0.9999"
