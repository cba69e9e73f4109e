"""What a compression gives back: measured sizes, accuracies, and one row a tensor."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from qacomp.evaluation.agreement import Agreement
from qacomp.evaluation.limits import MEMORY, SECONDS, RunLimits, limited_runs
from qacomp.evaluation.metrics import Measure
from qacomp.evaluation.operator_errors import OperatorError
from qacomp.evaluation.verdict import NOT_JUDGED, Verdict
from qacomp.formats import WriteReport, atomic_file
from qacomp.inputs import command_files
from qacomp.operating_points import OperatingPoint
from qacomp.outputs import Output, claim
from qacomp.pruning.report import PruningReport
from qacomp.selection import Selection
from qacomp.training import EpochRecord
from qacomp.weight_history import WeightHistogram


@dataclass(frozen=True)
class LayerResult:
    """One tensor of the container. `codec_reason`: why that codec.

    `chosen`: why it is shared, None where it isn't; `skipped`: why it isn't, None where it is. error_db: of what is
    shared, the error at the operators that read it relative to what they make, in decibels; error_of: the type of the
    worst of them, or "weights" where none was run and it is the weights' own relative error.
    """

    name: str
    shape: tuple[int, ...]
    k: int | None
    bytes: int
    bits_per_weight: float | None
    entropy_bits_per_weight: float | None
    codec: str
    codec_reason: str
    skipped: str | None
    chosen: str | None = None
    error_db: float | None = None
    error_of: str | None = None


@dataclass(frozen=True)
class Accuracy:
    """Top-1 on the test split in percent: of the checkpoint, after sharing, after tuning, and of the decoded file."""

    original: float | None = None
    shared: float | None = None
    tuned: float | None = None
    decoded: float | None = None


@dataclass(frozen=True, repr=False)
class Result:
    """A finished compression. Sizes are bytes on disk; `source_bytes` are those of the source as it came (see
    qacomp.source_size), which `ratio` is against; `checkpoint_bytes` and `fp32_ratio` are of the same in fp32.

    `metric`: of the original and the decoded ONNX model, on data with targets; `agreement`: of
    the decoded model's outputs with the original's, for models that are run without labels.
    weight_history: shared layers' histograms through the training; relative_errors: RMS of stored minus original
    weights over the originals' RMS, by layer; source: where the checkpoint was read from. verdict: what all these
    figures say: good, doubtful, broken or not measured, with the reasons.
    """

    output: Path
    arch: str | None
    source_bytes: int
    checkpoint_bytes: int
    container_bytes: int
    graph_bytes: int
    overhead_bytes: int
    ratio: float
    fp32_ratio: float
    bits_per_weight: float
    accuracy: Accuracy
    max_abs_error: float | None
    layers: tuple[LayerResult, ...]
    history: tuple[EpochRecord, ...]
    seconds: dict[str, float]
    seed: int
    settings: dict[str, Any]
    settings_toml: str
    notes: tuple[str, ...]
    pruning: PruningReport | None = None
    agreement: Agreement | None = None
    metric: Measure | None = None
    weight_history: Mapping[str, tuple[WeightHistogram, ...]] = field(default_factory=dict)
    relative_errors: Mapping[str, float | None] = field(default_factory=dict)
    source: str = ""
    operating_points: tuple[OperatingPoint, ...] = ()
    verdict: Verdict = NOT_JUDGED

    def to_json(self) -> dict[str, Any]:
        """The document that `compress --json` prints: all but the histograms."""
        return {**asdict(replace(self, weight_history={})), "output": str(self.output), **self.verdict.to_json()}

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Copy the container to `path`, whole or not at all; force: over a file that is no container.

        Raises OutputNotWritableError, also where `path` is the container or what it was made from.
        """
        claim([Output(Path(path), "path", "container")], command_files([self.output, Path(self.source)]), force=force)
        with self.output.open("rb") as source, atomic_file(path) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        return Path(path)

    def to_onnx(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        mode: str = "dense",
        level: int | None = None,
        force: bool = False,
    ) -> Any:
        """The decoded network as a ModelProto, or with `path` written there: a `qacomp.decoded.Decoded`.

        mode: how the file holds the weights: dense, lut or affine (`qacomp.onnx_options.OnnxOptions`); force: replace a
        file that stands at `path`.
        """
        from qacomp.api import decode

        return decode(self, path, to="onnx", mode=mode, level=level, force=force)

    def report(self, path: str | os.PathLike[str], *, measure: bool = True, force: bool = False) -> Path:
        """Write the HTML report: one page that needs no network. measure: ONNX sizes and latency.

        force: replace a file that stands at `path`.
        """
        from qacomp.report import write_report

        claim([Output(Path(path), "path")], command_files([self.output, Path(self.source)]), force=force)
        limits = RunLimits.of(self.settings.get("run_seconds", SECONDS), self.settings.get("run_memory", MEMORY))
        with limited_runs(limits):
            return write_report(Path(path), self.output, self, measure=measure)

    def __str__(self) -> str:
        """Sizes and accuracy in one line."""
        text = f"{self.source_bytes:,} -> {self.container_bytes:,} bytes, {self.ratio:.1f}x smaller"
        a = self.accuracy
        if a.original is not None and a.decoded is not None:
            text += f", accuracy {a.original:.2f} -> {a.decoded:.2f} %"
        return text

    def __repr__(self) -> str:
        """For the prompt: where the container is, and `str`."""
        return f"Result({self.output.name!r}: {self})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from qacomp.report.summary import summary_html

        return summary_html(self)


def layer_results(
    report: WriteReport, selection: Selection, errors: Mapping[str, OperatorError]
) -> tuple[LayerResult, ...]:
    """One row for each tensor that was written."""
    rows, chosen = [], {layer.name: layer.reason for layer in selection.layers}
    for t in report.tensors:
        error = errors.get(t.name) if t.k is not None else None
        bits = 8 * t.bytes / t.values if t.values else None
        rounded = "" if t.side == "exact" else f"rounded to {t.side}"
        skipped = None if t.k is not None else selection.skipped.get(t.name, "kept dense")
        why = chosen.get(t.name, selection.skipped.get(t.name)) if t.k is not None else None
        if rounded and skipped is not None:
            skipped = f"{skipped}: {rounded}"
        elif rounded and why:
            why = f"{why}, shared values {rounded}"
        told = (None, None) if error is None else (error.db, error.of)
        coded = (t.k, t.bytes, bits, t.entropy_bits, t.codec, t.reason)
        rows.append(LayerResult(t.name, tuple(t.shape), *coded, skipped, why, *told))
    return tuple(rows)
