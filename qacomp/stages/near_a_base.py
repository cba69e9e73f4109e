"""Let the selected tensors stay near those of --base, the container of an earlier version."""

from collections.abc import Callable
from dataclasses import replace

from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.options.needs import fine_tunes, rate_aware, shares_in_training, sized_levels
from qacomp.rate.sharing import RateSharing
from qacomp.sharing.base import open_base
from qacomp.sharing.selection import Selection
from qacomp.sources.torch_source import Source, TorchSource
from qacomp.stages.run import Run


def near_a_base(source: Source, selection: Selection, config: CompressConfig, run: Run) -> Selection:
    """Return the selection with the tensors of the run's base, if it has one; notes say which stay far from it.

    Raises ConfigError for settings that share weights in another way, and for a base of another model; FormatError.
    """
    if run.base is None:
        return selection
    if (why := _unfit(source, config)) is not None:
        raise ConfigError(f"--base: has no effect {why}")
    near = selection.near(open_base(run.base))
    far = [layer.name for layer in near.layers if layer.base is None]
    if len(far) == len(near.layers):
        raise ConfigError(f"--base {run.base}: has none of the tensors to share; give an earlier version of this model")
    if far:
        run.note(f"--base: has no {far[0][:80]}, and {len(far)} of {len(near.layers)} tensors: shared without it")
    if not rate_aware(config) and config.rounding == "balanced":
        run.note("--base: tensors near the base are rounded as they lie there; errors of a channel aren't balanced")
    on = {layer.name for layer in near.layers if layer.base is not None and layer.base.on_trellis}
    if on and rate_aware(config):
        run.note(f"--base: {len(on)} of {len(near.layers)} tensors are on a trellis there, and are rounded on it again")
    elif on:
        run.note(f"--base: {len(on)} of {len(near.layers)} tensors are on a trellis there, which --k can't stay near")
        layers = tuple(replace(layer, base=None) if layer.name in on else layer for layer in near.layers)
        near = replace(near, layers=layers) if any(layer.base is not None for layer in layers) else selection
    if fine_tunes(config):
        run.note("--base: weights are fine-tuned freely, and are rounded near the base after that")
    return near


def with_base(sharing: RateSharing, selection: Selection, note: Callable[[str], None]) -> RateSharing:
    """Return the weights near the selection's base, if it has one; a note says which can't stay near it."""
    found = sharing.near(selection)
    asked = [layer.name for layer in selection.layers if layer.base is not None and layer.name in found.weights]
    far = [name for name in asked if found.weights[name].near is None]
    if far:
        few = ", ".join(name[:80] for name in far[:3]) + (", ..." if len(far) > 3 else "")
        note(f"--base: {len(far)} of {len(asked)} tensors don't stay near it, of another shape or form there: {few}")
    return found


def _unfit(source: Source, config: CompressConfig) -> str | None:
    """Return why these settings don't share weights near a base, None if they do."""
    if not isinstance(source, TorchSource) and source.large:
        return "on models of 1 GiB or more"
    if config.levels is not None or sized_levels(config):
        return "on progressive files; give --k or one --target-size"
    if config.quantizer.chosen or config.codebook != "tensor" or shares_in_training(config):
        return "on weights that are quantized in training, on grids or in blocks; give --k or share by rate"
    if rate_aware(config) and fine_tunes(config):
        return "if weights are trained by rate; give --epochs 0"
    return None
