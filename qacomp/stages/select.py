"""Choose which tensors of a source are shared."""

from collections.abc import Callable

from qacomp.options.config import CompressConfig
from qacomp.options.needs import rate_aware
from qacomp.sharing.selection import Rules, Selection, select
from qacomp.sources.torch_source import Source, TorchSource


def select_weights(source: Source, config: CompressConfig, note: Callable[[str], None]) -> Selection:
    """Return the layers to share, with K of each, and the reason why each other tensor isn't shared.

    Raises ConfigError for a pattern that matches no tensor and for a network with nothing to share,
    NonFiniteWeightsError for a selected tensor with NaN or infinity. note: called with remarks on the source's tensors.
    """
    measured = rate_aware(config) and _runs(source, config)
    rules = Rules(config.scope, config.shared_values, config.k_layers, **config.which, measured=measured)
    selection = select(source.weights(), rules)
    if isinstance(source, TorchSource):
        selection = source.smaller(selection, config)
    source.check(selection)
    for remark in () if isinstance(source, TorchSource) else source.remarks(selection):
        note(remark)
    return selection


def _runs(source: Source, config: CompressConfig) -> bool:
    """Return whether the source may be run on calibration inputs; bare tensors may if they come with texts."""
    if isinstance(source, TorchSource):
        return True
    return not source.large and (config.calibration is not None or source.graph() is not None)
