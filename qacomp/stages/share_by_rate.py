"""Share a source without training on grids: the smallest file at a quality, or the best model of a size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from qacomp.calibration.weights_alone import WeightsAlone
from qacomp.evaluation.measured import Measured
from qacomp.evaluation.samples import Given
from qacomp.options.config import CompressConfig
from qacomp.options.needs import level_numbers, limited, sized_levels, vector_precision
from qacomp.rate.calibrated import CalibratedModel, MomentsByBlock
from qacomp.rate.guard import guarded, tell_of_outputs
from qacomp.rate.kept import Watch
from qacomp.rate.sharing import RateSharing, Ways, calibrated_sharing, plain_sharing
from qacomp.rate.steps import ROUNDS
from qacomp.sharing.selection import Selection
from qacomp.sharing.share import Packed, estimated_bits, kept_unless_smaller
from qacomp.sources.source import ModelRuns, PlainSource
from qacomp.stages.kept_trials import kept_trials
from qacomp.stages.large import large_by_rate
from qacomp.stages.levels_by_rate import Levelled, asked_levels, made_for_sizes
from qacomp.stages.limit_search import made_within_limits
from qacomp.stages.made import Made
from qacomp.stages.measured_source import coarser_levels, judged, made_of, moved, operator_errors, point_of
from qacomp.stages.near_a_base import with_base
from qacomp.stages.pack_weights import PackedWeights
from qacomp.stages.run import Run
from qacomp.stages.scale_search import Asked, made_for_quality, made_for_size
from qacomp.stages.scaled import Scaled
from qacomp.stages.size_of import level_bytes, tensor_bytes, whole_bytes
from qacomp.stages.source_rounding import rounded_by_choice
from qacomp.stages.trial_log import with_sensitivities
from qacomp.stages.tune_vectors import TUNED, VectorTuning, tell_of_tuning, vector_tuning
from qacomp.stages.validate_source import reported_source, validated_source
from qacomp.stages.validation import Validation

_QUICK_FROM = 1 << 22  # weights: coding them takes seconds


def share_by_rate(
    source: PlainSource, selection: Selection, config: CompressConfig, data: Given | None, run: Run
) -> Made:
    """Share the selection on grids, and measure the compressed model if it can be run.

    data: what the model is measured on, see `qacomp.stages.share`. Raises TargetNotReachedError for a size or a quality
    out of reach, DataError for data that doesn't fit the model.
    """
    with run.stage("evaluate"):
        runs = source.runs(data, config, run.note)
    if source.large and config.target_size is None:
        return large_by_rate(source, selection, config, run)
    with run.stage("calibrate"):
        calibrated = _calibrated(source, selection, config, run)
        read = {weight.name: weight.read for weight in source.weights()}
        tuning = vector_tuning(calibrated.model, lambda name: read[name](), config, run)
        calibrated = replace(calibrated, tuning=tuning)
    grids, given = _Grids(source, selection, config, calibrated), config.calibration is not None
    if sized_levels(config):
        levelled = Levelled(
            lambda items: _made(grids, runs, grids.kept(items), run),
            lambda made: level_bytes(made, source, config),
            lambda items: tensor_bytes(grids.kept(items), config),
            run.journal.under(grids.sharing.digest),
        )
        made = made_for_sizes(grids.sharing, levelled, asked_levels(config, source.size), 0, run)
        return with_sensitivities(made, calibrated.sharing, calibrated.model, inputs_given=given)
    scaled = _scaled(grids, runs, run)
    if limited(config):
        made = made_within_limits(scaled, config, run)
    elif config.target_size is None:
        made = made_for_quality(scaled, config, run)
    else:
        rest = scaled.whole_bytes(scaled.made(1.0)) - scaled.searched_bytes(1.0)  # the graph, biases, metadata
        made = made_for_size(scaled, rest, Asked.of(config, source.size), run)
    tell_of_tuning(made, run.note)
    return with_sensitivities(made, calibrated.sharing, calibrated.model, inputs_given=given)


@dataclass(frozen=True)
class _CalibratedSource:
    sharing: RateSharing
    model: CalibratedModel
    tuning: VectorTuning | None = None


def _calibrated(source: PlainSource, selection: Selection, config: CompressConfig, run: Run) -> _CalibratedSource:
    """Return the selected weights with their moments and steps; plain ones where the model can't be run."""
    read = {weight.name: weight.read for weight in source.weights()}
    layers = {layer.name: layer for layer in selection.layers}
    precision = config.stored_precision
    model = source.calibration([layer.name for layer in selection.layers], config, run.note)
    if model is None:
        run.note("weights are rounded by their own deviations alone: no outputs are compared")
        sharing = plain_sharing(layers, lambda name: read[name](), precision)
        sharing = rounded_by_choice(with_base(sharing, selection, run.note), config, False, run.note)
        return _CalibratedSource(sharing, WeightsAlone(lambda name: read[name]()))
    words, made_up = model.of_words, config.calibration is None
    blocks = not sized_levels(config)  # a container holds codebooks in blocks, or levels
    ways = Ways(not words and blocks, words, model.tables if blocks else ())
    digest = model.digest
    watch = Watch(run.progress, run.journal.under(digest))
    sharing = calibrated_sharing(layers, lambda name: read[name](), model, precision, watch, ways)
    run.note(f"calibrated on {model.text}")
    with run.progress.task("compensation on other inputs", len(sharing.weights)) as task:
        safe, plain = guarded(sharing, model.distance_elsewhere, task.advance, watch.kept)
    changed = any(safe.weights[name] is not weight for name, weight in sharing.weights.items())
    if changed and not words:
        with run.progress.task("steps by change of outputs", ROUNDS * len(safe.weights)) as task:
            safe = safe.balanced(model.distance, task.advance, run.journal.under(f"{digest}, without some factors"))
    sharing = safe.eased() if made_up and not words else safe
    if plain:
        few = ", ".join(name[:80] for name in plain[:3]) + (", ..." if len(plain) > 3 else "")
        count = f"{len(plain)} of {len(sharing.weights)} weights"
        run.note(f"{count} ({few}): rounded plainly, since compensation is no better on other inputs")
    tell_of_outputs(sharing, run.note)
    on_texts = isinstance(model, MomentsByBlock)
    return _CalibratedSource(
        rounded_by_choice(with_base(sharing, selection, run.note), config, on_texts, run.note), model
    )


class _Grids:
    """The selected tensors of a source at any scale of their steps, each shared only where that makes it smaller."""

    def __init__(
        self, source: PlainSource, selection: Selection, config: CompressConfig, found: _CalibratedSource
    ) -> None:
        self.source, self.config, self.model, self._given = source, config, found.model, selection
        self.tuning = found.tuning
        self.vectors = source.vectors(vector_precision(config))
        self.selection = selection.with_reasons(self.vectors)
        self.packed = PackedWeights(source, self.vectors, config)
        self.sharing = found.sharing
        self._read = {weight.name: weight.read for weight in source.weights()}
        self.at = lru_cache(maxsize=1)(self._at)

    def _at(self, scale: float) -> dict[str, Packed]:
        """Return the selected tensors at a scale; see `kept`."""
        return self.kept(self.sharing.at(scale))

    def finer(self, factors: Mapping[str, float]) -> "_Grids":
        """Return the tensors with the steps of some of them multiplied by factors."""
        found = _CalibratedSource(self.sharing.finer(factors), self.model, self.tuning)
        return _Grids(self.source, self._given, self.config, found)

    def kept(self, shared: Mapping[str, Packed]) -> dict[str, Packed]:
        """Return the selected tensors: shared where that makes them smaller, else as they are with the reason."""
        items = {}
        for layer in self.selection.layers:
            array = self._read[layer.name]()
            if layer.name in shared:
                items[layer.name] = kept_unless_smaller(shared[layer.name], array, layer)
            else:
                why = self.sharing.unfit.get(layer.name, "it can't be put on a grid")
                items[layer.name] = Packed(array, kept=f"{layer.reason}, but {why}: kept exactly")
        return items

    def shared_bytes(self, scale: float) -> int:
        """Return the bytes that the selected tensors take at a scale, in a container of their own."""
        return tensor_bytes(self.at(scale), self.config)

    def quick_bytes(self, scale: float) -> int:
        """Estimate `shared_bytes` from the entropy of the indices, without coding them."""
        return round(sum(estimated_bits(item) for item in self.at(scale).values()) / 8)

    @property
    def large(self) -> bool:
        """Return whether coding all weights would take most of the time of a search."""
        return sum(weight.values.size for weight in self.sharing.weights.values()) >= _QUICK_FROM

    def distance(self, scale: float) -> float:
        """Return how far the outputs move at a scale."""
        return self.model.distance({name: item.dense() for name, item in self.at(scale).items()})


def _scaled(grids: _Grids, runs: ModelRuns | None, run: Run) -> Scaled:
    made_at = lru_cache(maxsize=1)(lambda scale: _made(grids, runs, grids.at(scale), run))
    untuned_at = lru_cache(maxsize=1)(lambda scale: _made(grids, runs, grids.at(scale), run, tuned=False))
    scaled = Scaled(
        made_at,
        lambda made: whole_bytes(made, grids.source, grids.config),
        grids.shared_bytes,
        grids.distance,
        lambda scale: _validated(grids, runs, scale, made_at, run),
        lambda factors: _scaled(grids.finer(factors), runs, run),
        grids.sharing.by_cost,
        None if grids.tuning is None else lambda scale: _validated(grids, runs, scale, untuned_at, run),
        quick_bytes=grids.quick_bytes if grids.large else None,
        based=grids.sharing.based,
        estimate=None if grids.sharing.base else grids.sharing.estimate,
    )
    what = grids.sharing.digest + grids.model.digest + ("" if runs is None else runs.digest)
    what += "" if grids.tuning is None else " tuned"
    return kept_trials(scaled, run.journal, what)


def _validated(
    grids: _Grids, runs: ModelRuns | None, scale: float, made_at: Callable[[float], Made], run: Run
) -> Validation:
    """Return what decides whether a scale may be taken: on a validation part if there are labels, else as reported."""
    deciding = None if runs is None else runs.where_steps_are_chosen()
    if deciding is None or deciding is runs:
        return reported_source(made_at(scale), grids.source, lambda: grids.distance(scale))
    with run.stage("share"):
        grids.packed.put(grids.at(scale), grids.selection)
    with run.stage("evaluate"):
        return validated_source(grids.source, grids.packed, deciding, grids.config)


def _made(grids: _Grids, runs: ModelRuns | None, shared: Mapping[str, Packed], run: Run, *, tuned: bool = True) -> Made:
    """Return what the container holds with these tensors of the selection, measured at each level.

    tuned: tune norms and biases for them, where the source is tuned.
    """
    source, config, packed = grids.source, grids.config, grids.packed
    vectors = grids.tuning.vectors(shared) if tuned and grids.tuning is not None else {}
    with run.stage("share"):
        packed.put(shared, grids.selection, vectors)
    items = dict(packed.items)
    selection = packed.left(grids.selection)
    with run.stage("evaluate"):
        measured = Measured() if runs is None else runs.measured(packed.dense)
        numbers = level_numbers(config) if measured.agreement is not None else None
        coarser = coarser_levels(items, numbers or (), runs, run.note)
        errors = operator_errors(source, items, runs)
    made = made_of(source, selection, items, judged(measured, errors, config), config)
    meta = {**made.meta, "calibration": grids.model.text}
    if grids.tuning is not None:
        meta[TUNED] = bool(vectors)
    if numbers is not None:
        each = coarser | {f"level{numbers[-1]}": measured}
        meta |= {"submodels": {name: point_of(found) for name, found in each.items()}}
    return replace(made, meta=meta, training=moved(source, selection, items))
