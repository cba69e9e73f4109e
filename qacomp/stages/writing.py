"""The last stages of a network's compression: measure it, pack it, write it, and measure what is read back."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, TypeAlias

from numpy.typing import NDArray
from torch import nn

from qacomp.errors import StoppedRunError
from qacomp.evaluation.accuracy import onnx_accuracy, torch_accuracy
from qacomp.evaluation.described_submodels import describe_submodels
from qacomp.evaluation.parity import max_abs_error
from qacomp.evaluation.verdict import judge
from qacomp.exporting.onnx_model import onnx_model
from qacomp.exporting.operating_points import OperatingPoint, operating_points
from qacomp.formats import SharedTensor, WriteReport, open_file, save_file
from qacomp.runtime.agreement import Agreement
from qacomp.sources.probes import probe_inputs
from qacomp.sources.provenance import provenance
from qacomp.sources.source_size import SourceSize
from qacomp.stages.figures import Accuracy, Figures
from qacomp.stages.job import Job
from qacomp.stages.ladder_packing import pack_ladder
from qacomp.stages.network_measuring import generated_examples, layer_errors, network_agreement
from qacomp.stages.packing import Package, pack_network
from qacomp.training.history import WeightHistory
from qacomp.training.ladder import PrecisionLadder

Test: TypeAlias = tuple[NDArray[Any], NDArray[Any]]
_PROBE = 64  # images on which layers' errors are measured


def write_and_measure(
    job: Job,
    shared: nn.Module,
    tuned: nn.Module,
    weights: WeightHistory,
    ladder: PrecisionLadder | None = None,
) -> Figures:
    """Write the job's network, or the `ladder` over it, and measure what a reader gets.

    shared, tuned: the network before and after the tuning of its shared values; weights: histograms from the training.
    """
    run, accuracy, test = job.run, Accuracy(), None
    if job.session is not None:
        with run.stage("evaluate"):
            split = job.session.dataset.test
            test = job.network.preprocessing.apply(split.x), split.y  # (N, C, H, W), (N,)
            models = {"original": job.original, "shared": shared, "tuned": tuned}
            accuracy = Accuracy(**{n: torch_accuracy(m, *test, device=job.session.device) for n, m in models.items()})
    with run.stage("encode"):
        if ladder is None:
            package = pack_network(job.network, job.selection, job.config.stored_precision)
        else:
            package = pack_ladder(
                job.network, ladder, job.selection, list(job.config.levels or ()), job.config.stored_precision
            )
        run.weights, run.errors = weights.finished(), weights.errors(package.tensors)
    with run.stage("evaluate"):
        agreement = _judge(job, package, tuned, test)
    run.verdict = judge(agreement, run.operator_errors, _percent(accuracy, accuracy.tuned), job.config.k)
    with run.stage("encode"):
        report = _write(job, package, accuracy, agreement, test)
    error: float | None = None
    decoded: float | None = None
    points: tuple[OperatingPoint, ...] = ()
    with run.stage("decode"):
        try:
            error, decoded, points = _read_back(job, package.submodels, test)
        except StoppedRunError as stopped:
            run.note(f"the decoded network isn't measured: {stopped}")
        accuracy = replace(accuracy, decoded=decoded)
        if decoded is not None:
            run.verdict = judge(agreement, run.operator_errors, _percent(accuracy, decoded), job.config.k)
    if job.session is not None and job.session.store is not None:
        job.session.store.finish()
    result = run.result(
        job.output,
        str(job.checkpoint.path),
        SourceSize.of_state(job.checkpoint.state),
        job.config,
        report,
        job.selection.with_reasons(package.rounded),
        arch=job.network.arch,
        accuracy=accuracy,
        max_abs_error=error,
    )
    return replace(result, agreement=agreement, operating_points=points)


def _judge(job: Job, package: Package, tuned: nn.Module, test: Test | None) -> Agreement | None:
    """Measure each layer's error and, without data, the outputs' agreement on generated inputs."""
    shared = {name: value.dense() for name, value in package.tensors.items() if isinstance(value, SharedTensor)}
    shape, seed = job.network.input_shape, job.config.seed
    inputs = generated_examples(job.network, seed) if test is None else test[0][:_PROBE]
    job.run.operator_errors = layer_errors(job.original, shared, inputs)
    if test is not None:
        return None
    text = f"{len(inputs)} generated inputs, seed {seed}: {'×'.join(map(str, shape))}"
    return network_agreement(job.original, tuned, inputs, text)


def _percent(accuracy: Accuracy, found: float | None) -> tuple[float, float] | None:
    return None if accuracy.original is None or found is None else (accuracy.original, found)


def _write(
    job: Job, package: Package, accuracy: Accuracy, agreement: Agreement | None, test: Test | None
) -> WriteReport:
    network = job.network
    meta = provenance(job.checkpoint, job.config, SourceSize.of_state(job.checkpoint.state)) | {
        "arch": network.arch,
        "num_classes": network.num_classes,
        "input_shape": list(network.input_shape),
        "preprocessing": network.preprocessing.to_dict(),
        "data": job.config.data,
        "batch_norms": package.batch_norms,
        "accuracy": {k: v for k, v in asdict(accuracy).items() if v is not None},
    }
    meta |= job.run.verdict.to_json()
    if agreement is not None:
        meta["agreement"] = agreement.to_json()
    if job.run.pruning is not None:
        meta["pruning"] = job.run.pruning.summary()
    if package.submodels:
        meta["submodels"] = describe_submodels(package.submodels, network.input_shape, test)
    return save_file(
        job.output,
        package.tensors,
        graph=package.graph,
        meta=meta,
        precision=job.config.stored_precision,
        cuts=package.cuts,
        exact=package.exact,
    )


def _read_back(
    job: Job, submodels: Mapping[str, nn.Module], test: Test | None
) -> tuple[float, float | None, tuple[OperatingPoint, ...]]:
    """The file's difference from the packed network in its outputs, its accuracy in percent, its operating points."""
    network = job.network
    probe = probe_inputs(network, 4, job.config.seed) if test is None else test[0][:64]
    with open_file(job.output) as container:
        points = operating_points(container)
        decoded = onnx_model(container)
        parts = {name: onnx_model(container, submodel=name) for name in submodels}
    if parts:
        error = max(max_abs_error(submodels[name], part, probe) for name, part in parts.items())
    else:
        error = max_abs_error(network.model, decoded, probe)
    return error, None if test is None else onnx_accuracy(decoded, *test), points
