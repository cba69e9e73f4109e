"""Feed a user's own batches (loaders, datasets, arrays) to an ONNX model. Needs torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qacomp.batches.examples import Batches
from qacomp.batches.feed import Feed, count_of, tensors_of
from qacomp.batches.form import BatchForm
from qacomp.batches.given import load_examples
from qacomp.batches.outputs import arranged
from qacomp.evaluation.metric import Metric
from qacomp.evaluation.metric_choice import choose_metric
from qacomp.evaluation.on_batches import onnx_value, run_batch
from qacomp.runtime.agreement import Feed as NamedArrays
from qacomp.runtime.session import Session

_MOST = 512 << 20  # bytes of inputs that are held in memory to be run before and after


def own_part(spec: str, given: Any, inputs: Sequence[Any], *, validation: bool = False) -> Batches:
    """Return the test or the validation part of a user's data for a model with these inputs."""
    form = BatchForm(spec, tuple(entry.name for entry in inputs), len(inputs))
    examples = load_examples(given, form, spec)
    return examples.val if validation else examples.test


def measure_batches(session: Session, batches: Batches, name: str) -> tuple[Metric, float, int, NamedArrays]:
    """Return the metric of a model over batches, its value, the number of examples and the first feed."""
    import torch

    first = next(iter(batches.in_order(32)))
    found = run_batch(session, first.x)
    outputs = arranged(list(found), [torch.from_numpy(np.array(value)) for value in found.values()])
    metric = choose_metric(name, None, outputs, first.y)
    count = sum(count_of(batch.x) for batch in batches.in_order(128))
    return metric, onnx_value(session, batches, metric), count, named_arrays(first.x, session.get_inputs())


def held_feeds(batches: Batches, inputs: Sequence[Any]) -> tuple[list[NamedArrays], NDArray[Any] | None, bool]:
    """Return feeds by input name, targets (N, ...) of them, and whether all examples are among them.

    Targets are None if they aren't one tensor a batch.
    """
    feeds: list[NamedArrays] = []
    targets: list[Any] = []
    size, whole = 0, True
    for batch in batches.in_order(32):
        if size > _MOST:
            whole = False
            break
        feeds.append(named_arrays(batch.x, inputs))
        targets.append(batch.y)
        size += sum(array.nbytes for array in feeds[-1].values())
    plain = [y.numpy() for y in targets if isinstance(y, Tensor) and y.ndim]
    same = len(plain) == len(targets) and len({y.shape[1:] for y in plain}) == 1
    return feeds, np.concatenate(plain) if same else None, whole


def named_arrays(feed: Feed, inputs: Sequence[Any]) -> NamedArrays:
    """Return a feed as arrays by the names of a model's inputs."""
    names = list(feed) if isinstance(feed, dict) else [entry.name for entry in inputs]
    return {name: tensor.numpy() for name, tensor in zip(names, tensors_of(feed), strict=False)}
