"""Measure a network that was shared and tuned, pack it, and compare the file that is read back with it."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from qacomp.batches.feed import Feed, count_of
from qacomp.errors import StoppedRunError
from qacomp.evaluation.advice import finer_settings
from qacomp.evaluation.guessing import guessing, no_better
from qacomp.evaluation.metrics import Measure
from qacomp.evaluation.on_batches import largest_difference_of, network_value, onnx_value, some_feeds
from qacomp.evaluation.submodels import describe_submodels
from qacomp.evaluation.verdict import Verdict, few, judge, nothing_to_lose
from qacomp.exporting.onnx_model import onnx_model
from qacomp.exporting.operating_points import operating_points
from qacomp.formats import Container, SharedTensor
from qacomp.graphs.metadata import TOGETHER
from qacomp.graphs.submodels import output_names
from qacomp.models.first_weights import is_untouched
from qacomp.models.flexible import FlexibleModel
from qacomp.options.needs import level_numbers, vector_precision
from qacomp.sharing.selection import Selection
from qacomp.sharing.share import Packed
from qacomp.sources.probes import probe_inputs
from qacomp.stages.figures import Accuracy
from qacomp.stages.job import UNTOUCHED, Job
from qacomp.stages.made import Made, Measurements
from qacomp.stages.network_measuring import generated_examples, layer_errors, network_agreement
from qacomp.stages.pack_ladder import pack_ladder
from qacomp.stages.pack_network import Package, pack_network
from qacomp.training.history import WeightHistory
from qacomp.training.ladder import PrecisionLadder

_PROBE = 64  # test examples on which layer errors and the outputs of the decoded file are measured


def measured_network(
    job: Job, models: tuple[nn.Module, nn.Module], weights: WeightHistory, ladder: PrecisionLadder | None = None
) -> Made:
    """Measure and pack the job's network, or all levels of its precision `ladder`.

    models: the network before and after tuning its shared values; weights: histograms from the training.
    """
    values, probe = Accuracy(), list[Feed]()
    if job.session is not None:
        with job.run.stage("evaluate"):
            named = {"original": job.original, "shared": models[0], "tuned": models[1]}
            test, metric, device = job.session.examples.test, job.session.task.metric, job.session.device
            each = {n: network_value(m, test, metric, device=device) for n, m in named.items()}
            guessed = guessing(test, each["original"]) if metric.percent else None
            values = Accuracy(**each, fine_tuned=job.training.fine_tuned, chance=guessed)
            probe = some_feeds(test, _PROBE)
    with job.run.stage("encode"):
        package = _packed(job, ladder)
        moved = replace(job.training, weights=weights.finished(), errors=weights.errors(package.tensors))
    with job.run.stage("evaluate"):
        found = _judged(job, package, models[1], values, probe)
    meta = _metadata(job, package, found)

    def finish(container: Container) -> tuple[Measurements, Selection]:
        measured = _read_back(job, package, (found, values), container, probe)
        if job.store is not None:
            job.store.finish()
        return measured, selection

    selection = job.selection.with_reasons(package.rounded)
    items = {name: Packed(value, package.precisions.get(name, "exact")) for name, value in package.tensors.items()}
    made = Made(selection, items.items(), package.graph, meta, found, finish, moved, package.cuts)
    return replace(made, arch=job.network.arch, network=models[1])


def _packed(job: Job, ladder: PrecisionLadder | None) -> Package:
    if ladder is None:
        return pack_network(job.network, job.selection, job.config.stored_precision, vector_precision(job.config))
    numbers = level_numbers(job.config) or ()
    return pack_ladder(job.network, ladder, job.selection, list(numbers), job.config.stored_precision)


def _judged(job: Job, package: Package, tuned: nn.Module, values: Accuracy, probe: list[Feed]) -> Measurements:
    """Measure the error of each layer and, unless accuracy decides alone, the agreement of outputs.

    probe: test examples; without data inputs are generated.
    """
    shared = {name: value.dense() for name, value in package.tensors.items() if isinstance(value, SharedTensor)}
    seed = job.config.seed
    inputs: Feed = probe[0] if probe else torch.from_numpy(generated_examples(job.network, seed))
    errors, agreement = layer_errors(job.original, shared, inputs), None
    accuracy = _accuracy(job, values)
    samples = None if job.session is None else job.session.examples.test_count
    if accuracy.tuned is None or few(samples):
        text = (
            f"{count_of(inputs)} inputs of {job.session.examples.spec}"
            if job.session is not None
            else (f"{count_of(inputs)} generated inputs, seed {seed}: {'×'.join(map(str, job.network.images[0]))}")
        )
        agreement = network_agreement(job.original, tuned, inputs, text)
    finer = finer_settings(job.config)
    verdict = judge(agreement, errors, _percent(accuracy, accuracy.tuned), finer, accuracy.chance, samples)
    metric = _measure(job, values, values.tuned)
    if (untrained := _learned_all(job, metric)) is not None:
        verdict = untrained
    return Measurements(accuracy, agreement, metric, errors=errors, verdict=verdict)


def _accuracy(job: Job, values: Accuracy) -> Accuracy:
    """Return these values if the metric is accuracy; else no accuracy was measured."""
    percent = job.session is not None and job.session.task.metric.percent
    return values if percent else Accuracy()


def _measure(job: Job, values: Accuracy, found: float | None) -> Measure | None:
    """Return the original's and the compressed network's value of a metric other than accuracy."""
    if job.session is None or job.session.task.metric.percent or values.original is None or found is None:
        return None
    metric = job.session.task.metric
    return Measure(metric.name, values.original, found, job.session.examples.test_count, metric.higher)


def _learned_all(job: Job, metric: Measure | None) -> Verdict | None:
    """Return the verdict on a network that was trained here from an original that had learned nothing; else None.

    metric: what was measured of a network that is no classifier.
    """
    if job.session is None or not job.training.history or metric is None:
        return None
    task, why = job.session.task, f"has learned nothing: it came {UNTOUCHED}" if is_untouched(job.original) else None
    guessed = no_better(task.metric, job.session.examples.test, metric.original)
    why = why if guessed is None else f"is {guessed}"
    told = f"{metric.name} {metric.original:.4g} -> {metric.decoded:.4g}"
    return None if why is None else nothing_to_lose(told, why)


def _metadata(job: Job, package: Package, found: Measurements) -> dict[str, Any]:
    """Return the container's metadata: the network, its preprocessing, and what was measured."""
    network = job.network
    told: dict[str, Any] = {
        "arch": network.arch,
        "num_classes": network.num_classes,
        "input_shape": None if network.input_shape is None else list(network.input_shape),
        "preprocessing": None if network.preprocessing is None else network.preprocessing.to_dict(),
    }
    meta: dict[str, Any] = {name: value for name, value in told.items() if value is not None}
    meta |= {
        "data": job.config.data,
        "batch_norms": package.batch_norms,
        "accuracy": {k: v for k, v in asdict(found.accuracy).items() if v is not None},
    }
    meta |= found.verdict.to_json()
    if found.metric is not None:
        meta["metric"] = found.metric.to_json()
    if found.agreement is not None:
        meta["agreement"] = found.agreement.to_json()
    if job.session is None and job.training.history:
        meta["trained"] = f"{len(job.training.history)} epochs towards the original's outputs, without labels"
    if job.training.pruning is not None:
        meta["pruning"] = job.training.pruning.summary()
    if len(output_names(package.graph)) > 1 and not isinstance(network.model, FlexibleModel):
        meta["graph"] = TOGETHER
    if package.submodels:
        labelled = job.session is not None and job.session.task.metric.percent
        test = job.session.examples.test if job.session is not None and labelled else None
        meta["submodels"] = describe_submodels(package.submodels, network.inputs.feed, test)
    return meta


def _read_back(
    job: Job, package: Package, before: tuple[Measurements, Accuracy], container: Container, probe: list[Feed]
) -> Measurements:
    """Return what was measured before, with the decoded file's metric, output difference, and operating points."""
    found, values = before
    feeds = probe or [torch.from_numpy(probe_inputs(job.network, 4, job.config.seed))]
    points, decoded = operating_points(container), onnx_model(container)
    parts = {name: onnx_model(container, submodel=name) for name in package.submodels}
    value = None
    try:
        error = _largest_difference(package.submodels or {"": job.network.model}, parts or {"": decoded}, feeds)
        if job.session is not None:
            value = onnx_value(decoded, job.session.examples.test, job.session.task.metric)
    except StoppedRunError as stopped:
        job.run.note(f"the decoded network isn't measured: {stopped}")
        return replace(found, points=points)
    found = replace(found, max_abs_error=error, points=points)
    if value is None or job.session is None or values.original is None:
        return found
    if not job.session.task.metric.percent:
        metric = _measure(job, values, value)
        return replace(found, metric=metric, verdict=_learned_all(job, metric) or found.verdict)
    accuracy = replace(values, decoded=value)
    finer = finer_settings(job.config)
    count = job.session.examples.test_count
    verdict = judge(found.agreement, found.errors, _percent(accuracy, value), finer, accuracy.chance, count)
    return replace(found, accuracy=accuracy, verdict=verdict)


def _largest_difference(models: Mapping[str, nn.Module], decoded: Mapping[str, Any], feeds: list[Feed]) -> float:
    return max(largest_difference_of(models[name], decoded[name], feeds) for name in models)


def _percent(accuracy: Accuracy, found: float | None) -> tuple[float, float] | None:
    return None if accuracy.original is None or found is None else (accuracy.original, found)
