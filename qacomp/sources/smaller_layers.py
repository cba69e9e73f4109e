"""Leave out, before training, the selected layers of a network that sharing would not make smaller."""

import math
from collections.abc import Sequence

from torch import nn

from qacomp.options.codebook import grid_kind
from qacomp.sharing.blocks import block_shape
from qacomp.sharing.nested_arrays import share_nested
from qacomp.sharing.selection import Selection
from qacomp.sharing.share import share_array
from qacomp.sharing.worth import may_be_larger
from qacomp.tensors.torch_format import to_array


def smaller_layers(
    model: nn.Module, selection: Selection, codebook: str, levels: Sequence[int] | None, precision: str
) -> Selection:
    """Return the selection without the layers whose codebooks and indices take no fewer bytes than lossless coding.

    Where an estimate can't tell, the layer's present weights are shared by k-means, and both forms are coded.
    """
    for layer in selection.layers:
        array = to_array(model.get_parameter(layer.name))
        blocks = None if grid_kind(codebook) else block_shape(array.shape, layer.axis, codebook, layer.k)
        books = 1 if blocks is None else math.prod(-(-n // b) for n, b in zip(array.shape, blocks, strict=True))
        k = layer.k if levels is None else sum(levels)
        if grid_kind(codebook) or not may_be_larger(array, k, books):
            continue
        nested = share_nested(array, layer, levels, precision) if levels is not None else None
        item = nested or share_array(array, layer, codebook, precision)
        if item.kept:
            selection = selection.without(layer, item.kept)
    return selection
