"""Measure a network that was shared and tuned, pack it, and compare the file that is read back with it."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, TypeAlias

from numpy.typing import NDArray
from torch import nn

from qacomp.errors import StoppedRunError
from qacomp.evaluation.accuracy import onnx_accuracy, torch_accuracy
from qacomp.evaluation.advice import finer_settings
from qacomp.evaluation.parity import max_abs_error
from qacomp.evaluation.submodels import describe_submodels
from qacomp.evaluation.verdict import judge
from qacomp.exporting.onnx_model import onnx_model
from qacomp.exporting.operating_points import operating_points
from qacomp.formats import Container, SharedTensor
from qacomp.options.needs import level_numbers, vector_precision
from qacomp.sharing.selection import Selection
from qacomp.sharing.share import Packed
from qacomp.sources.probes import probe_inputs
from qacomp.stages.figures import Accuracy
from qacomp.stages.job import Job
from qacomp.stages.made import Made, Measurements
from qacomp.stages.network_measuring import generated_examples, layer_errors, network_agreement
from qacomp.stages.pack_ladder import pack_ladder
from qacomp.stages.pack_network import Package, pack_network
from qacomp.training.history import WeightHistory
from qacomp.training.ladder import PrecisionLadder

Test: TypeAlias = tuple[NDArray[Any], NDArray[Any]]
_PROBE = 64  # test images on which layer errors and the outputs of the decoded file are measured


def measured_network(
    job: Job, models: tuple[nn.Module, nn.Module], weights: WeightHistory, ladder: PrecisionLadder | None = None
) -> Made:
    """Measure and pack the job's network, or all levels of its precision `ladder`.

    models: the network before and after tuning its shared values; weights: histograms from the training.
    """
    accuracy, test = Accuracy(), None
    if job.session is not None:
        with job.run.stage("evaluate"):
            split = job.session.dataset.test
            test = job.network.preprocessing.apply(split.x), split.y  # (N, C, H, W), (N,)
            named = {"original": job.original, "shared": models[0], "tuned": models[1]}
            percents = {n: torch_accuracy(m, *test, device=job.session.device) for n, m in named.items()}
            accuracy = Accuracy(**percents, fine_tuned=job.training.fine_tuned)
    with job.run.stage("encode"):
        package = _packed(job, ladder)
        moved = replace(job.training, weights=weights.finished(), errors=weights.errors(package.tensors))
    with job.run.stage("evaluate"):
        found = _judged(job, package, models[1], accuracy, test)
    meta = _metadata(job, package, found, test)

    def finish(container: Container) -> tuple[Measurements, Selection]:
        measured = _read_back(job, package, found, container, test)
        if job.session is not None and job.session.store is not None:
            job.session.store.finish()
        return measured, selection

    selection = job.selection.with_reasons(package.rounded)
    items = {name: Packed(value, package.precisions.get(name, "exact")) for name, value in package.tensors.items()}
    return Made(
        selection, items.items(), package.graph, meta, found, finish, moved, package.cuts, arch=job.network.arch
    )


def _packed(job: Job, ladder: PrecisionLadder | None) -> Package:
    if ladder is None:
        return pack_network(job.network, job.selection, job.config.stored_precision, vector_precision(job.config))
    numbers = level_numbers(job.config) or ()
    return pack_ladder(job.network, ladder, job.selection, list(numbers), job.config.stored_precision)


def _judged(job: Job, package: Package, tuned: nn.Module, accuracy: Accuracy, test: Test | None) -> Measurements:
    """Measure the error of each layer and, without test data, the agreement of outputs on generated inputs."""
    shared = {name: value.dense() for name, value in package.tensors.items() if isinstance(value, SharedTensor)}
    shape, seed = job.network.input_shape, job.config.seed
    inputs = generated_examples(job.network, seed) if test is None else test[0][:_PROBE]
    errors, agreement = layer_errors(job.original, shared, inputs), None
    if test is None:
        text = f"{len(inputs)} generated inputs, seed {seed}: {'×'.join(map(str, shape))}"
        agreement = network_agreement(job.original, tuned, inputs, text)
    verdict = judge(agreement, errors, _percent(accuracy, accuracy.tuned), finer_settings(job.config))
    return Measurements(accuracy, agreement, errors=errors, verdict=verdict)


def _metadata(job: Job, package: Package, found: Measurements, test: Test | None) -> dict[str, Any]:
    """Return the container's metadata: the network, its preprocessing, and what was measured."""
    network = job.network
    meta: dict[str, Any] = {
        "arch": network.arch,
        "num_classes": network.num_classes,
        "input_shape": list(network.input_shape),
        "preprocessing": network.preprocessing.to_dict(),
        "data": job.config.data,
        "batch_norms": package.batch_norms,
        "accuracy": {k: v for k, v in asdict(found.accuracy).items() if v is not None},
    }
    meta |= found.verdict.to_json()
    if found.agreement is not None:
        meta["agreement"] = found.agreement.to_json()
    if job.training.pruning is not None:
        meta["pruning"] = job.training.pruning.summary()
    if package.submodels:
        meta["submodels"] = describe_submodels(package.submodels, network.input_shape, test)
    return meta


def _read_back(
    job: Job, package: Package, found: Measurements, container: Container, test: Test | None
) -> Measurements:
    """Return `found` with the decoded file's accuracy, output difference from the network, and operating points."""
    probe = probe_inputs(job.network, 4, job.config.seed) if test is None else test[0][:_PROBE]
    points, decoded = operating_points(container), onnx_model(container)
    parts = {name: onnx_model(container, submodel=name) for name in package.submodels}
    try:
        error = _largest_difference(package.submodels or {"": job.network.model}, parts or {"": decoded}, probe)
        percent = None if test is None else onnx_accuracy(decoded, *test)
    except StoppedRunError as stopped:
        job.run.note(f"the decoded network isn't measured: {stopped}")
        return replace(found, points=points)
    accuracy = replace(found.accuracy, decoded=percent)
    found = replace(found, accuracy=accuracy, max_abs_error=error, points=points)
    if percent is None:
        return found
    verdict = judge(found.agreement, found.errors, _percent(accuracy, percent), finer_settings(job.config))
    return replace(found, verdict=verdict)


def _largest_difference(models: Mapping[str, nn.Module], decoded: Mapping[str, Any], probe: NDArray[Any]) -> float:
    return max(max_abs_error(models[name], decoded[name], probe) for name in models)


def _percent(accuracy: Accuracy, found: float | None) -> tuple[float, float] | None:
    return None if accuracy.original is None or found is None else (accuracy.original, found)
