"""The main outputs of a network on a part of the data, held in memory, to compare two networks on the same examples."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qacomp.batches.examples import Batches
from qacomp.batches.feed import count_of, mapped, moved
from qacomp.batches.outputs import comparable, main_output
from qacomp.errors import DataError, MetricError
from qacomp.evaluation.metric import Metric, array_of
from qacomp.evaluation.on_batches import Forward, check_finite, device_of, on_cpu
from qacomp.evaluation.paired import GROUPS, Loss, paired_loss
from qacomp.models.plain_modules import in_eval_mode

_BATCH = 128
MAIN = "logits"


@dataclass(frozen=True)
class HeldOutputs:
    """`outputs` and `targets` of each batch; `count`: the number of examples."""

    outputs: tuple[Any, ...]
    targets: tuple[Any, ...]
    count: int

    @property
    def runs(self) -> list[dict[str, NDArray[Any]]]:
        """Return the main output by name: of one run over all examples, or of a run for each batch of other shape."""
        arrays = [array_of(main_output(found)) for found in self.outputs]
        whole = [np.concatenate(arrays)] if len({array.shape[1:] for array in arrays}) == 1 else arrays
        return [{MAIN: array} for array in whole]

    @property
    def labels(self) -> NDArray[Any] | None:
        """Return the targets as one array; None if they aren't tensors of one shape."""
        if not all(isinstance(y, torch.Tensor) and y.ndim for y in self.targets):
            return None
        arrays = [array_of(y) for y in self.targets]
        return np.concatenate(arrays) if len({array.shape[1:] for array in arrays}) == 1 else None

    def part(self, group: int) -> "HeldOutputs":
        """Return every sixteenth example of each batch, from number `group` on, of outputs and targets as tensors."""
        outputs, targets = (tuple(t[group::GROUPS] for t in found) for found in (self.outputs, self.targets))
        return HeldOutputs(outputs, targets, sum(map(len, targets)))

    def value(self, metric: Metric) -> float:
        """Return a metric of these outputs."""
        scorer = metric.start()
        for found, y in zip(self.outputs, self.targets, strict=True):
            scorer.add(found, y)
        return scorer.value()


def outputs_over(model: nn.Module, batches: Batches, device: torch.device) -> HeldOutputs:
    """Return a network's outputs in evaluation mode. Raises NonFiniteWeightsError if one is NaN or infinite."""
    model.to(device)
    outputs, targets, count, run = [], [], 0, Forward(model)
    with in_eval_mode(model), torch.inference_mode():
        for batch in batches.in_order(_BATCH):
            found = comparable(run(moved(batch.x, device_of(model))))
            check_finite(found, "the network")
            outputs.append(on_cpu(found))
            targets.append(mapped(batch.y, lambda tensor: tensor.cpu()))
            count += count_of(batch.x)
    return HeldOutputs(tuple(outputs), tuple(targets), count)


def loss_between(before: HeldOutputs, after: HeldOutputs, metric: Metric, values: tuple[float, float]) -> Loss:
    """Return what was lost of a metric, with its standard error where it is known; values: of before and after."""
    one, two, labels = before.runs, after.runs, before.labels
    if metric.name in ("accuracy", "mse") and len(one) == 1 and labels is not None:
        try:
            return paired_loss(metric.name, one[0][MAIN], two[0][MAIN], labels)
        except DataError:  # labels that are left out, for example
            pass
    lost = values[0] - values[1] if metric.higher else values[1] - values[0]
    return Loss(metric.name, lost, _error(before, after, metric), before.count)


def _error(before: HeldOutputs, after: HeldOutputs, metric: Metric) -> float | None:
    """Return the standard error of what was lost, from 16 groups of examples; None where groups can't be measured."""
    plain = all(isinstance(found, torch.Tensor) and found.ndim for found in (*before.outputs, *after.outputs))
    if before.count < 2 * GROUPS or before.labels is None or not plain:
        return None
    try:
        parts = [(before.part(group).value(metric), after.part(group).value(metric)) for group in range(GROUPS)]
    except MetricError:  # a metric may need examples of each class, for example
        return None
    return float(np.std([one - two for one, two in parts], ddof=1) / math.sqrt(GROUPS))
