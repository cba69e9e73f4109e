"""Measure a source that isn't trained on the samples where steps are chosen; others are only reported."""

from collections.abc import Callable
from dataclasses import replace

from qacomp.calibration.weights_alone import WeightsAlone
from qacomp.evaluation.measured import Measured
from qacomp.evaluation.paired import Loss
from qacomp.options.config import CompressConfig
from qacomp.sources.source import ModelRuns, PlainSource
from qacomp.stages.made import Made
from qacomp.stages.measured_source import judged, operator_errors
from qacomp.stages.pack_weights import PackedWeights
from qacomp.stages.validation import Validation, as_reported


def validated_source(
    source: PlainSource, packed: PackedWeights, deciding: ModelRuns, config: CompressConfig
) -> Validation:
    """Return what decides about these packed tensors, measured on samples that aren't reported."""
    found = deciding.measured(packed.dense)
    verdict = judged(found, operator_errors(source, packed.items, deciding), config).verdict
    cosine, inputs = (None, "") if found.agreement is None else (found.agreement.cosine, found.agreement.inputs)
    count = 0 if found.metric is None else found.metric.samples
    text = f"a validation part of {inputs}, {count} samples" if inputs else ""
    return Validation(verdict, cosine, _loss(found), text, apart=True)


def reported_source(made: Made, source: PlainSource, distance: Callable[[], float]) -> Validation:
    """Return what decides where no other samples do: what is also reported.

    Of tensors without a graph nothing is compared: the agreement is estimated by the weights' own errors. distance:
    gives these.
    """
    found = as_reported(made)
    if source.graph() is None:  # for small errors a cosine is 1 - half of the squared relative error
        return replace(found, agreement=1 - distance() / 2, inputs=WeightsAlone.text)
    return replace(found, loss=_loss(Measured(metric=made.measured.metric, loss=made.measured.loss)))


def _loss(found: Measured) -> Loss | None:
    if found.loss is not None or found.metric is None:
        return found.loss
    m = found.metric
    return Loss(m.name, m.lost, None, m.samples)
