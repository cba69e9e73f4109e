"""Measure a PyTorch network where steps are chosen: on the validation split, or without data on generated inputs.

Nothing is exported or packed, so a trial of other steps costs little more than running the network.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from qacomp.errors import NonFiniteWeightsError
from qacomp.evaluation.held_outputs import loss_between, outputs_over
from qacomp.evaluation.paired import Loss
from qacomp.evaluation.verdict import BROKEN, Verdict, beyond_tuning, judge
from qacomp.formats import SharedTensor
from qacomp.models.plain_modules import copied
from qacomp.options.needs import vector_precision
from qacomp.runtime.agreement import compare
from qacomp.stages.job import Job
from qacomp.stages.network_measuring import generated_examples, layer_errors, network_agreement
from qacomp.stages.pack_network import stored_network
from qacomp.stages.validation import Validation
from qacomp.training.parametrizations.shared import share_weight, share_weight_in_blocks, shared_tensor


def validated_network(job: Job, shared: nn.Module) -> Validation:
    """Return a network's loss of accuracy and the agreement of its outputs with the original's, with a file's values.

    shared: the network whose layers of the job's selection are shared; it isn't changed. A network that puts out NaN or
    infinity has lost everything: its steps are far too coarse.
    """
    model = _plain_twin(job, shared)
    precisions = job.config.stored_precision, vector_precision(job.config)
    stored = stored_network(replace(job.network, model=model), job.selection, *precisions)
    if job.session is None:
        weights = {name: value.dense() for name, value in stored.tensors.items() if isinstance(value, SharedTensor)}
        return _on_generated_inputs(job, model, weights)
    data, task = job.session.examples, job.session.task
    with job.run.stage("evaluate"):
        before = outputs_over(job.original, data.val, job.session.device)
        text = f"the validation split of {data.spec}, {before.count} samples"
        try:
            after = outputs_over(model, data.val, job.session.device)
        except NonFiniteWeightsError as error:
            nothing = Loss(task.metric.name, math.inf, None, before.count)
            return Validation(Verdict(BROKEN, (str(error),)), -1.0, nothing, text, True, data.test_count)
    agreement = compare(before.runs, after.runs, text, batch=before.count)
    values = before.value(task.metric), after.value(task.metric)
    percent = values if task.metric.percent else None
    verdict = judge(agreement, {}, percent, samples=before.count)
    loss = loss_between(before, after, task.metric, values)
    return Validation(verdict, agreement.cosine, loss, text, True, data.test_count)


def _plain_twin(job: Job, shared: nn.Module) -> nn.Module:
    """Return a network with the values of `shared`, made from the job's own.

    A copy of `shared` itself would have its classes, from which packing removes the shared weights.
    """
    twin, values = copied(job.model), shared.state_dict()
    with torch.no_grad():
        for name, own in twin.state_dict().items():
            if name in values:
                own.copy_(values[name])
    for layer in job.selection.layers:
        found = shared_tensor(shared, layer.name)
        if found.blocks is None:
            share_weight(twin, layer.name, found.codebook, found.indices)
        else:
            share_weight_in_blocks(twin, layer.name, found)
    return twin.eval()


def _on_generated_inputs(job: Job, model: nn.Module, shared: Mapping[str, NDArray[Any]]) -> Validation:
    """Return the agreement and the verdict on the inputs that are also reported."""
    with job.run.stage("evaluate"):
        inputs = generated_examples(job.network, job.config.seed)
        text = f"{len(inputs)} generated inputs, seed {job.config.seed}"
        agreement = network_agreement(job.original, model, inputs, text)
        errors = layer_errors(job.original, shared, inputs)
    return Validation(judge(agreement, errors), agreement.cosine, inputs=text, beyond_tuning=beyond_tuning(errors))
