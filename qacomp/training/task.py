"""What a network is trained for and measured by: the loss and the metric, chosen by the data or given by the user."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qacomp.batches.examples import Examples
from qacomp.batches.feed import Feed, moved, told
from qacomp.batches.outputs import main_output
from qacomp.datasets.custom import find_custom
from qacomp.errors import ConfigError, QacompError
from qacomp.evaluation.metric import ACCURACY, Metric
from qacomp.evaluation.metric_choice import choose_metric
from qacomp.evaluation.metrics import IGNORED
from qacomp.evaluation.on_batches import Forward, device_of
from qacomp.models.plain_modules import in_eval_mode
from qacomp.options.metric_names import check_loss
from qacomp.training.class_rows import class_rows
from qacomp.training.own_functions import OwnFunctions
from qacomp.training.teaching.lesson import Criterion, cross_entropy

_HELP = "torch.nn.functional.binary_cross_entropy_with_logits"


@dataclass(frozen=True)
class LossAndMetric:
    """`criterion`: the loss of what a network returned and the targets; `metric`: what results are measured by."""

    criterion: Criterion
    metric: Metric


def choose_task(
    network: nn.Module, examples: Examples, metric: str, own: OwnFunctions, batch_size: int
) -> LossAndMetric:
    """Return the loss and the metric for a network and its data, after a look at one batch.

    metric: the setting; own: the caller's functions, which come first. Class labels are learned by cross-entropy and
    measured by top-1 accuracy, float targets by the mean squared error. Raises ConfigError, which asks for a loss or a
    metric, where neither fits; DataError if the network can't run on the data.
    """
    batch = next(iter(examples.train.in_order(batch_size)))
    with in_eval_mode(network), torch.no_grad():
        found = Forward(network)(moved(batch.x, device_of(network)))
    y = moved(batch.y, device_of(network))
    kind = _kind(main_output(found), y)
    if own.loss_fn is None and kind == "classes":
        _check_next(batch.x, batch.y)
    criterion = _criterion(kind, own, (found, y))
    return LossAndMetric(criterion, choose_metric(metric, own.metric, found, y))


def _kind(outputs: Tensor, y: Any) -> str:
    """Return what the targets are for the outputs: classes, values or unknown."""
    if class_rows(outputs, y) is not None:
        return "classes"
    fits = isinstance(y, Tensor) and y.is_floating_point() and y.numel() == outputs.numel()
    return "values" if fits and outputs.is_floating_point() else "unknown"


def _check_next(x: Feed, y: Tensor) -> None:
    """Raise ConfigError where each label is the token at its own place: transformers' models shift them inside."""
    ids = x.get("input_ids") if isinstance(x, dict) else x
    if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.ndim < 2 or ids.shape != y.shape:
        return
    if bool(((y == ids) | (y == IGNORED)).all()) and bool((y != IGNORED).any()):
        raise ConfigError(
            f"labels {told(y)} are the input's own tokens, so the network would learn to copy them; give those of the "
            "next position (-100 at the last one), or loss_fn and metric (--loss-fn, --metric) that shift them"
        )


def _criterion(kind: str, own: OwnFunctions, seen: tuple[Any, Any]) -> Criterion:
    name = own.loss_name
    if isinstance(own.loss_fn, str):
        check_loss(name)
    if not isinstance(own.loss_fn, str | None) or ":" in name:
        function: Any = find_custom(*name.split(":", 1)) if isinstance(own.loss_fn, str) else own.loss_fn
        return _checked(name, function() if isinstance(function, type) else function, seen)
    chosen = {"cross-entropy": "classes", "mse": "values"}.get(name, kind)
    if chosen == "unknown" or (chosen == "classes" and kind != "classes"):
        found, y = told(main_output(seen[0])), told(seen[1])
        raise ConfigError(
            f"no loss is known for outputs {found} and targets {y}; give loss_fn (--loss-fn module:function), such as "
            f"{_HELP}"
        )
    return by_class if chosen == "classes" else by_value


def by_class(outputs: Any, y: Any) -> Tensor:
    """Return the cross-entropy of class scores and labels, over positions too; the label -100 is left out."""
    rows = class_rows(main_output(outputs), y)
    if rows is None:
        raise ConfigError(f"outputs {told(main_output(outputs))} and targets {told(y)} aren't class scores and labels")
    return cross_entropy(*rows)


def by_value(outputs: Any, y: Any) -> Tensor:
    """Return the mean squared error of outputs and targets with the same number of values."""
    found = main_output(outputs).float()
    if not isinstance(y, Tensor) or y.numel() != found.numel():
        raise ConfigError(f"outputs {told(found)} and targets {told(y)} must have the same shape for the squared error")
    return F.mse_loss(found, y.to(found).reshape(found.shape))


CLASSIFYING = LossAndMetric(by_class, ACCURACY)
"""The task of class labels and scores."""


def _checked(name: str, function: Callable[[Any, Any], Any], seen: tuple[Any, Any]) -> Criterion:
    """Return a user's loss after a try on one batch; its errors become ConfigError with shapes and dtypes."""

    def criterion(outputs: Any, y: Any) -> Tensor:
        try:
            loss = function(outputs, y)
        except QacompError:
            raise
        except Exception as error:  # a user's function may raise anything
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise ConfigError(
                f"the loss {name} failed on outputs {told(outputs)} and targets {told(y)}: {text}"
            ) from error
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise ConfigError(f"the loss {name} must return one number as a tensor, not {told(loss)}")
        return loss.reshape(()).float()

    criterion(*seen)
    return criterion
