"""What a compression gives back, as plain values: measured sizes, accuracies, and one row a tensor."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from qacomp.evaluation.metrics import Measure
from qacomp.evaluation.verdict import NOT_JUDGED, Verdict
from qacomp.exporting.operating_points import OperatingPoint
from qacomp.formats import WriteReport
from qacomp.runtime.agreement import Agreement
from qacomp.runtime.operator_errors import OperatorError
from qacomp.sharing.selection import Selection
from qacomp.training.history import EpochRecord, WeightHistogram
from qacomp.training.pruning.report import PruningReport


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
class Figures:
    """What is known of a finished compression.

    Sizes are bytes on disk; `source_bytes` are those of the source as it came (see `qacomp.sources.source_size`), which
    `ratio` is against; `checkpoint_bytes` and `fp32_ratio` are of the same in fp32.

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
        """Return the document that `compress --json` prints: all but the histograms."""
        return {**asdict(replace(self, weight_history={})), "output": str(self.output), **self.verdict.to_json()}

    def __str__(self) -> str:
        """Return sizes and accuracy in one line."""
        text = f"{self.source_bytes:,} -> {self.container_bytes:,} bytes, {self.ratio:.1f}x smaller"
        a = self.accuracy
        if a.original is not None and a.decoded is not None:
            text += f", accuracy {a.original:.2f} -> {a.decoded:.2f} %"
        return text


def layer_results(
    report: WriteReport, selection: Selection, errors: Mapping[str, OperatorError]
) -> tuple[LayerResult, ...]:
    """Return one row for each tensor that was written."""
    rows, chosen = [], {layer.name: layer.reason for layer in selection.layers}
    for t in report.tensors:
        error = errors.get(t.name) if t.k is not None else None
        bits = 8 * t.bytes / t.values if t.values else None
        rounded = "" if t.precision == "exact" else f"rounded to {t.precision}"
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
