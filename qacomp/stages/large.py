"""Share a source of 1 GiB or more: tensors are shared one by one while they are written, and nothing is run."""

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from qacomp.calibration.weights_alone import OF_SUM, WeightsAlone
from qacomp.evaluation.verdict import judge
from qacomp.formats import Container
from qacomp.options.config import CompressConfig
from qacomp.options.needs import vector_precision
from qacomp.rate.plain import on_grid_within
from qacomp.rate.quality import DISTANCES
from qacomp.sharing.selection import Layer, Selection
from qacomp.sharing.share import Packed, kept_unless_smaller
from qacomp.sources.source import PlainSource
from qacomp.stages.made import Made, Measurements
from qacomp.stages.measured_source import made_of
from qacomp.stages.pack_weights import PackedWeights, Share


def share_one_by_one(
    source: PlainSource, selection: Selection, config: CompressConfig, packed: PackedWeights, share: Share
) -> Made:
    """Return what a container of a large source holds: `share` is called for each tensor while it is written.

    So errors are known only after writing, in `finish`.
    """
    whole = made_of(source, selection, {}, Measurements(verdict=judge(None, {})), config)

    def finish(container: Container) -> tuple[Measurements, Selection]:
        measured, _ = whole.finish(container)
        return replace(measured, errors=packed.errors), packed.left(selection)

    return replace(whole, tensors=packed.one_by_one(selection, share), finish=finish)


def large_by_rate(source: PlainSource, selection: Selection, config: CompressConfig) -> Made:
    """Return what a container of a large source holds: each tensor on the coarsest grid that the quality allows."""
    vectors = source.vectors(vector_precision(config))
    selection = selection.with_reasons(vectors)
    packed = PackedWeights(source, vectors, config)
    limit = DISTANCES[config.quality]
    error = min(limit, limit / OF_SUM / max(1, len(selection.layers)))

    def share(array: NDArray[Any], layer: Layer) -> Packed:
        item = on_grid_within(array, error, config.stored_precision)
        if isinstance(item, str):
            return Packed(array, kept=f"{layer.reason}, but {item}: kept exactly")
        return kept_unless_smaller(item, array, layer)

    made = share_one_by_one(source, selection, config, packed, share)
    return replace(made, meta={**made.meta, "calibration": WeightsAlone.text})
