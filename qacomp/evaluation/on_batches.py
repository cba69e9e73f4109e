"""Measure a metric of a network, or of an ONNX model of it, over batches: only one batch is in memory at a time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qacomp.batches.examples import Batches
from qacomp.batches.feed import Feed, called, count_of, joined, mapped, moved, rows_of, tensors_of, told
from qacomp.batches.outputs import NamedOutputs, arranged, comparable, flat_outputs
from qacomp.errors import DataError, NonFiniteWeightsError
from qacomp.evaluation.metric import Metric
from qacomp.models.plain_modules import in_eval_mode
from qacomp.runtime.agreement import Feed as NamedArrays
from qacomp.runtime.limits import measuring
from qacomp.runtime.sandbox import RefusedError
from qacomp.runtime.session import OnnxModel, Session, line, open_session

_BATCH = 128


def network_value(
    model: nn.Module, batches: Batches, metric: Metric, *, batch_size: int = _BATCH, device: torch.device | None = None
) -> float:
    """Return the metric of a network in evaluation mode, in float32; afterwards each module has its former mode.

    The network is moved to `device` (None: it stays on its device). Raises DataError if there is nothing to measure or
    the network fails on a batch, NonFiniteWeightsError if an output is NaN or infinite, MetricError.
    """
    if device is not None:
        model.to(device)
    place = device_of(model)
    scorer, run = metric.start(), Forward(model)
    with in_eval_mode(model), torch.inference_mode():
        for batch in batches.in_order(batch_size):
            found = comparable(run(moved(batch.x, place)))
            check_finite(found, "the network")
            scorer.add(on_cpu(found), mapped(batch.y, lambda tensor: tensor.cpu()))
    return scorer.value()


def onnx_value(model: OnnxModel | Session, batches: Batches, metric: Metric, *, batch_size: int = _BATCH) -> float:
    """Return the metric of an ONNX model that `qacomp` exported, in onnxruntime; see `network_value` for the rest."""
    measuring().on_data()
    session = model if isinstance(model, Session) else open_session(model)
    scorer = metric.start()
    for batch in batches.in_order(batch_size):
        found = run_batch(session, batch.x)
        check_finite({n: torch.from_numpy(v) for n, v in found.items() if v.dtype.kind == "f"}, "the ONNX model")
        values = [torch.from_numpy(np.array(value)) for value in found.values()]
        scorer.add(arranged(list(found), values), mapped(batch.y, lambda tensor: tensor.cpu()))
    return scorer.value()


class Forward:
    """Calls a network on feeds; images are in the channels-last layout as long as the network takes that.

    Channels-last inputs make convolutions 15-60 % faster on a CPU. A forward that calls view() on a feature map fails
    with this layout.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.as_moved = model, True

    def __call__(self, feed: Feed) -> Any:
        """Return what the network gives. Raises DataError, with shapes and dtypes, if it fails."""
        if self.as_moved:
            try:
                return called(self.model, feed)
            except Exception:  # if the layout isn't the cause, the call below reports the error
                self.as_moved = False
        try:
            return called(self.model, mapped(feed, lambda tensor: tensor.contiguous()))
        except torch.OutOfMemoryError as error:
            raise DataError(f"a batch of {told(feed)} doesn't fit the device's memory; use a smaller batch") from error
        except Exception as error:  # a user's forward may raise anything
            raise DataError(
                f"the network can't run on an input {told(feed)} ({line(error)}); check the data's shape and "
                "preprocessing"
            ) from error


class Mover:
    """Moves a network's feeds to a device; images get the channels-last layout if the network takes it.

    The first feed shows whether it does: two of its examples are run in evaluation mode.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._model, self._device = model, device
        self._as_moved: bool | None = None

    def __call__(self, feed: Feed) -> Feed:
        """Return the feed on the device. Raises DataError if the network fails on it in any layout."""
        found: Feed = moved(feed, self._device)
        if all(tensor.is_contiguous() for tensor in tensors_of(found)):
            return found
        if self._as_moved is None:
            run = Forward(self._model)
            with in_eval_mode(self._model), torch.no_grad():
                run(rows_of(found, slice(0, 2)))
            self._as_moved = run.as_moved
        plain: Feed = found if self._as_moved else mapped(found, lambda tensor: tensor.contiguous())
        return plain


def run_batch(session: Session, feed: Feed) -> NamedArrays:
    """Return the outputs of an ONNX model for a feed, by name. Raises DataError if onnxruntime refuses the feed."""
    inputs = session.get_inputs()
    arrays = [np.ascontiguousarray(tensor.detach().cpu().numpy()) for tensor in tensors_of(feed)]
    names = list(feed) if isinstance(feed, dict) else [entry.name for entry in inputs]
    given = dict(zip(names, arrays, strict=False))
    outputs = [output.name for output in session.get_outputs()]
    try:
        values = session.run(outputs, {entry.name: given[entry.name] for entry in inputs if entry.name in given})
    except RefusedError as error:
        wanted = ", ".join(f"{entry.name} {entry.type}{entry.shape}" for entry in inputs)
        raise DataError(
            f"onnxruntime can't run the model on an input {told(feed)}; the model takes {wanted} ({line(error)}); "
            "check the data's shape and preprocessing"
        ) from error
    return dict(zip(outputs, values, strict=True))


def some_feeds(batches: Batches, most: int) -> list[Feed]:
    """Return the inputs of the first `most` examples: one feed, or several if their shapes differ."""
    feeds, count = [], 0
    for batch in batches.in_order(most):
        feeds.append(rows_of(batch.x, slice(0, most - count)))
        count += count_of(feeds[-1])
        if count >= most:
            break
    return joined(feeds)


def largest_difference_of(model: nn.Module, onnx_model: OnnxModel, feeds: Sequence[Feed]) -> float:
    """Return the largest |difference| between the outputs of a network and of an ONNX model of its weights."""
    session, run, worst = open_session(onnx_model), Forward(model), 0.0
    place = device_of(model)
    with in_eval_mode(model), torch.inference_mode():
        for feed in feeds:
            wanted, found = flat_outputs(run(moved(feed, place))), run_batch(session, feed)
            for name, value in found.items():
                if name in wanted and value.dtype.kind == "f":
                    apart = np.abs(value.astype(np.float64) - wanted[name].detach().cpu().double().numpy())
                    worst = max(worst, float(apart.max(initial=0.0)))
    return worst


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a network's tensors."""
    return next((t.device for t in itertools.chain(model.parameters(), model.buffers())), torch.device("cpu"))


def on_cpu(found: Any) -> Any:
    """Return outputs (see `comparable`) on the CPU, floats as float32."""

    def move(tensor: Tensor) -> Tensor:
        return tensor.float().cpu() if tensor.is_floating_point() else tensor.cpu()

    if isinstance(found, NamedOutputs):
        return NamedOutputs((name, mapped(value, move)) for name, value in found.items())
    return mapped(found, move)


def check_finite(found: Any, what: str) -> None:
    """Raise NonFiniteWeightsError, which names the output, if one of the outputs is NaN or infinite."""
    for name, tensor in flat_outputs(found).items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise NonFiniteWeightsError(
                f"{what} returns NaN or infinite values ({name}); check its weights and the preprocessing"
            )
