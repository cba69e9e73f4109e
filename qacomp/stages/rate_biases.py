"""Let rate-aware sharing put the biases of the selected layers on grids too; in a small file they weigh as much."""

from collections.abc import Iterable
from dataclasses import replace

from qacomp.options.config import CompressConfig
from qacomp.sharing.selection import Layer, Selection, Weight, first_fit


def with_biases(selection: Selection, weights: Iterable[Weight], config: CompressConfig) -> Selection:
    """Return the selection with the biases of its layers that have at least --min-size values.

    weights: all tensors of the network. A bias that --exclude names stays as it is; with --include only named tensors
    are shared, so no bias is added.
    """
    if config.include:
        return selection
    known = {weight.name: weight for weight in weights}
    added, base = [], selection.base
    for layer in selection.layers:
        name = layer.name.removesuffix("weight") + "bias"
        bias = known.get(name)
        if bias is None or bias.tied or len(bias.shape) != 1 or name not in selection.skipped:
            continue
        if bias.shape[0] >= max(config.min_size, 2) and not first_fit(config.exclude, name):
            why = f"bias of {layer.name[:80]}, {bias.shape[0]:,} values"
            added.append(
                Layer(name, layer.kind, bias.shape, layer.k, 0, why, base=None if base is None else base.tensor(name))
            )
    names = {layer.name for layer in added}
    skipped = {name: reason for name, reason in selection.skipped.items() if name not in names}
    return replace(selection, layers=(*selection.layers, *added), skipped=skipped)
