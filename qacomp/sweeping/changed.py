"""A model with other values in place of its weights, measured as `compress` measures its own."""

from collections.abc import Callable, Mapping
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from qacomp.batches.examples import Examples
from qacomp.batches.images import ImageExamples
from qacomp.evaluation.samples import Given
from qacomp.options.config import CompressConfig
from qacomp.sources.torch_source import Source, TorchSource
from qacomp.stages.figures import Accuracy
from qacomp.sweeping.loss import UnmeasuredTrialError, quality_loss
from qacomp.training.own_functions import OwnFunctions

Changed = Mapping[str, NDArray[np.float32]]


def changed_loss(
    source: Source, config: CompressConfig, data: Examples | Given | None, loss_fn: str | None = None
) -> Callable[[Changed], tuple[str, float]]:
    """Return a function that takes weights by name, and gives (what the loss is, the loss); see `quality_loss`.

    loss_fn: of the trials' training, None for the one that fits the targets. The function raises UnmeasuredTrialError
    for a model that can't be run.
    """
    if isinstance(source, TorchSource):
        own = OwnFunctions(loss_fn)
        return _of_network(source, config, data if isinstance(data, Examples) else None, own)
    read = {weight.name: weight.read for weight in source.weights()}
    runs = source.runs(None if isinstance(data, Examples) else data, config, lambda note: None)

    def loss(changed: Changed) -> tuple[str, float]:
        if runs is None:
            raise UnmeasuredTrialError("the model can't be run")

        def values(name: str) -> NDArray[np.generic]:
            before = read[name]()
            return before if name not in changed else changed[name].astype(before.dtype)

        found = runs.measured(values)
        return quality_loss({}, found.metric, found.agreement)

    return loss


def _of_network(
    source: TorchSource, config: CompressConfig, data: Examples | None, own: OwnFunctions
) -> Callable[[Changed], tuple[str, float]]:
    import torch

    from qacomp.evaluation.metrics import Measure
    from qacomp.evaluation.on_batches import network_value
    from qacomp.models.plain_modules import copied
    from qacomp.models.weight_places import tied_names, under_all_names
    from qacomp.stages.network_measuring import generated_examples, network_agreement
    from qacomp.training.task import CLASSIFYING, choose_task

    model, tied = source.network.model.eval(), tied_names(source.network.model)
    metric = CLASSIFYING.metric
    if data is not None and (not isinstance(data, ImageExamples) or config.metric != "auto"):
        metric = choose_task(model, data, config.metric, own, config.batch_size).metric

    def loss(changed: Changed) -> tuple[str, float]:
        twin = copied(model).eval()
        everywhere = under_all_names(changed, tied)
        state = twin.state_dict()
        twin.load_state_dict(state | {n: torch.from_numpy(np.array(v)).to(state[n]) for n, v in everywhere.items()})
        if data is None:
            inputs = generated_examples(source.network, config.seed)
            return quality_loss({}, None, network_agreement(model, twin, inputs, ""))
        original, decoded = (network_value(each, data.test, metric) for each in (model, twin))
        if metric.percent:
            return quality_loss(asdict(Accuracy(original, decoded=decoded)), None, None)
        return quality_loss({}, Measure(metric.name, original, decoded, data.test_count, metric.higher), None)

    return loss
