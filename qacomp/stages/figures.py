"""The figures of a finished compression as plain values: sizes, accuracies, and one row for each tensor."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.evaluation.metrics import Measure
from qacomp.evaluation.verdict import NOT_JUDGED, Verdict
from qacomp.exporting.operating_points import OperatingPoint
from qacomp.formats import WriteReport
from qacomp.plain_text import printable
from qacomp.rate.record import RateSearch
from qacomp.runtime.agreement import Agreement
from qacomp.runtime.operator_error import OperatorError
from qacomp.sharing.selection import Selection

if TYPE_CHECKING:  # a source that isn't trained needs no torch
    from qacomp.training.history import EpochRecord, WeightHistogram
    from qacomp.training.pruning.report import PruningReport


@dataclass(frozen=True)
class LayerResult:
    """One tensor of the container.

    k: shared values, None if the tensor isn't shared; codec_reason: why that codec was taken; chosen: why the tensor is
    shared, None if it isn't; skipped: why it isn't shared, None if it is. error_db: error that sharing causes at the
    operators that read the tensor, relative to their outputs, in decibels; error_of: type of the operator with the
    largest error, or "weights" if no operator was run and error_db is the relative error of the weights themselves.
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
    """Top-1 accuracy on the test split in percent: original, after sharing, after tuning, and of the decoded file.

    fine_tuned: of the fine-tuned weights in full precision, where they are shared after the fine-tuning. chance: what
    guessing gives, where the original is no better; else None.
    """

    original: float | None = None
    shared: float | None = None
    tuned: float | None = None
    decoded: float | None = None
    fine_tuned: float | None = None
    chance: float | None = None


@dataclass(frozen=True)
class NextStep:
    """A command line to try next, and what was measured that speaks for it."""

    command: str
    why: str


@dataclass(frozen=True, repr=False)
class Figures:
    """All figures of a finished compression.

    Sizes are bytes. `source_bytes` is the size of the source as it came (see `qacomp.sources.source_size`), and `ratio`
    is that divided by `container_bytes`; `checkpoint_bytes` and `fp32_ratio` are the same with the source in fp32.

    metric: of the original and of the decoded ONNX model, on data with targets; agreement: of the decoded model's
    outputs with the original's, on inputs that need no labels. weight_history: by shared layer, histograms of its
    weights taken during training; relative_errors: by layer, RMS of (stored − original) weights divided by the RMS of
    the original ones; source: the path that the model was read from. verdict: good, doubtful, broken or not measured,
    with the figures that decided it. rate_search: what rate-aware sharing measured while it searched;
    next_steps: command lines that follow from it; missed: what was asked for and isn't met, although the file was
    written, or empty.
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
    history: "tuple[EpochRecord, ...]"
    seconds: dict[str, float]
    seed: int
    settings: dict[str, Any]
    settings_toml: str
    notes: tuple[str, ...]
    pruning: "PruningReport | None" = None
    agreement: Agreement | None = None
    metric: Measure | None = None
    weight_history: "Mapping[str, tuple[WeightHistogram, ...]]" = field(default_factory=dict)
    relative_errors: Mapping[str, float | None] = field(default_factory=dict)
    source: str = ""
    operating_points: tuple[OperatingPoint, ...] = ()
    verdict: Verdict = NOT_JUDGED
    rate_search: RateSearch | None = None
    next_steps: tuple[NextStep, ...] = ()
    missed: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the document that `compress --json` prints: everything except the histograms."""
        return {**asdict(replace(self, weight_history={})), "output": str(self.output), **self.verdict.to_json()}

    def __str__(self) -> str:
        """Return sizes and accuracy, or another metric, in one line."""
        text = f"{self.source_bytes:,} -> {self.container_bytes:,} bytes, {self.ratio:.1f}x smaller"
        a = self.accuracy
        if a.original is not None and a.decoded is not None:
            text += f", accuracy {a.original:.2f} -> {a.decoded:.2f} %"
        elif self.metric is not None:
            text += f", {printable(self.metric.name, 80)} {self.metric.original:.4g} -> {self.metric.decoded:.4g}"
        return text


def layer_results(
    report: WriteReport, selection: Selection, errors: Mapping[str, OperatorError]
) -> tuple[LayerResult, ...]:
    """Return one row for each tensor that was written. errors: by tensor, for those that were measured."""
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
