"""Turn a source's tensors into what a container holds: shared values, a rounded vector, or the exact tensor."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from numpy.typing import NDArray

from qacomp.formats import stored_values
from qacomp.options.config import CompressConfig
from qacomp.options.needs import vector_precision
from qacomp.sharing.alike_kmeans import clustered_ahead
from qacomp.sharing.kmeans import Clustering
from qacomp.sharing.nested_arrays import share_nested
from qacomp.sharing.selection import Layer, Selection, Weight
from qacomp.sharing.share import Packed, share_array
from qacomp.sources.source import PlainSource


class Share(Protocol):
    """Shares a layer's values."""

    def __call__(self, array: NDArray[Any], layer: Layer, /) -> Packed: ...  # noqa: D102


def clustered(array: NDArray[Any], layer: Layer, config: CompressConfig, found: Clustering | None = None) -> Packed:
    """Return a layer's values shared by k-means, as the settings say. found: their clusters, if they are known."""
    if config.levels is not None:
        return share_nested(array, layer, config.levels, config.stored_precision)
    return share_array(array, layer, config.codebook, config.stored_precision, config.rounding, found)


class PackedWeights:
    """All tensors of a source, packed for the last selection that was given to `share`.

    items: packed tensors by name, in the container's order.
    """

    def __init__(self, source: PlainSource, vectors: Mapping[str, str], config: CompressConfig) -> None:
        self._source, self._vectors, self._config = source, vectors, config
        self._layers: dict[str, Layer] = {}
        self.items: dict[str, Packed] = {}
        self._kept: dict[str, str] = {}
        self._tuned: frozenset[str] = frozenset()

    def share(self, selection: Selection) -> None:
        """Pack all tensors: those of the selection shared, the others rounded or exact.

        A tensor whose layer hasn't changed since the last call isn't shared again.
        """
        layers = {layer.name: layer for layer in selection.layers}
        first, names = not self.items, dict.fromkeys(self._layers) | dict.fromkeys(layers)
        changed = {name for name in names if layers.get(name) != self._layers.get(name)}
        ahead = self._clustered_ahead(selection) if first else {}
        for weight in self._source.weights():
            if first or weight.name in changed:
                share = partial(clustered, config=self._config, found=ahead.get(weight.name))
                self.items[weight.name] = self._pack(weight, layers.get(weight.name), share)
        for layer in selection.layers:
            self.items |= dict.fromkeys(layer.tied, self.items[layer.name])
        self._layers, self._kept = layers, {n: why for n in layers if (why := self.items[n].kept)}

    def put(self, items: Mapping[str, Packed], selection: Selection, tuned: Mapping[str, Packed] | None = None) -> None:
        """Take the packed tensors of a selection from `items`, and pack the others, rounded or exact.

        tuned: vectors that are taken as they are given. All other tensors that aren't of the selection are packed
        once.
        """
        tuned = tuned or {}
        first, layers = not self.items, {layer.name: layer for layer in selection.layers}
        for weight in self._source.weights():
            if weight.name in layers:
                self.items[weight.name] = items[weight.name]
            elif weight.name in tuned:
                self.items[weight.name] = tuned[weight.name]
            elif first or weight.name in self._tuned:
                self.items[weight.name] = self._pack(weight, None, partial(clustered, config=self._config))
        self._tuned = frozenset(tuned)
        for layer in selection.layers:
            self.items |= dict.fromkeys(layer.tied, self.items[layer.name])
        self._layers, self._kept = layers, {n: why for n in layers if (why := self.items[n].kept)}

    def dense(self, name: str) -> NDArray[Any]:
        """Return a tensor's values as a reader will get them."""
        return self.items[name].dense()

    def left(self, selection: Selection) -> Selection:
        """Return the selection without the tensors that sharing didn't make smaller, each with the reason."""
        for layer in selection.layers:
            if layer.name in self._kept:
                selection = selection.without(layer, self._kept[layer.name])
        return selection

    @property
    def notes(self) -> list[str]:
        """Return the remarks on single tensors, for the user."""
        return [note for item in self.items.values() if (note := item.note)]

    def _pack(self, weight: Weight, layer: Layer | None, share: Share) -> Packed:
        array = weight.read()
        if layer is not None:
            return share(array, layer)
        if weight.name in self._vectors:
            precision = vector_precision(self._config)
            return Packed(stored_values(array, precision), precision)
        return Packed(array)

    def _clustered_ahead(self, selection: Selection) -> dict[str, Clustering | None]:
        """Return, by layer, the clusters of small tensors of equal size, which are clustered together to save time.

        Empty for a source with a graph: its tensors are shared one by one, so that the bytes of one tensor don't depend
        on the other tensors.
        """
        if self._config.levels is not None or self._config.codebook != "tensor" or self._source.graph() is not None:
            return {}
        read = {weight.name: weight.read for weight in self._source.weights()}
        found = clustered_ahead(selection.layers, lambda name: read[name]())
        return {layer.name: clusters for layer, clusters in zip(selection.layers, found, strict=True)}
