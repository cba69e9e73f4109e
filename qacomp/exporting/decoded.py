"""Define the options and the result of decoding a container to a file. Doesn't need torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from qacomp.evaluation.verdict import Verdict
from qacomp.exporting.onnx_options import DENSE, OnnxOptions, WrittenOnnx
from qacomp.exporting.part import WHOLE, Part
from qacomp.formats import Container
from qacomp.progress import Progress, SilentProgress
from qacomp.runtime.latency import Latency
from qacomp.workers.choice import ALONE, Workers


@dataclass(frozen=True)
class DecodeOptions:
    """Hold what to write: the part of the container and, for ONNX, the form of the weights.

    workers: who decodes the tensors of a folder.
    """

    part: Part = WHOLE
    onnx: OnnxOptions = DENSE
    workers: Workers = ALONE
    progress: Progress = field(default_factory=SilentProgress)


@dataclass(frozen=True)
class Decoded:
    """A file that was decoded from `part` of `container`, with its figures.

    max_abs_error: largest difference between the weights in the file and the container's; onnx: details of an ONNX
    file; agreement: for an original ONNX model, the agreement of its outputs with the compressed model's, as `qacomp
    compress` measured it; verdict: the one stored in the container, or None; judged_now: the verdict is about the
    accuracy measured now. `measure_decoded` sets the following, which are None before: accuracy: in percent;
    accuracy_fp32: with fp32 activations (onnxruntime's accuracy level 0) if integer products are fused, which use int8
    activations by default; latency; metric: {"name", "value"} of an original ONNX model on data with targets.
    """

    container: Path
    part: Part
    output: Path
    output_bytes: int
    container_bytes: int
    max_abs_error: float
    notes: tuple[str, ...] = ()
    onnx: WrittenOnnx | None = None
    agreement: dict[str, Any] | None = None
    verdict: Verdict | None = None
    judged_now: bool = False
    accuracy: float | None = None
    accuracy_fp32: float | None = None
    latency: Latency | None = None
    metric: dict[str, Any] | None = None

    @classmethod
    def of(
        cls,
        container: Container,
        output: Path,
        options: DecodeOptions,
        max_abs_error: float,
        notes: tuple[str, ...] = (),
    ) -> Self:
        """Return a Decoded for a file of weights that was just written, with both sizes, the error and the notes."""
        sizes = output.stat().st_size, container.available
        return cls(Path(container.source), options.part, output, *sizes, max_abs_error, notes)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document that `decode --json` prints."""
        latency = {"p50": self.latency.p50_ms, "p95": self.latency.p95_ms} if self.latency else None
        return {
            "output": str(self.output),
            "onnx_bytes": self.output_bytes if self.output.suffix == ".onnx" else None,
            "output_bytes": self.output_bytes,
            "container_bytes": self.container_bytes,
            "accuracy": self.accuracy,
            "accuracy_fp32": self.accuracy_fp32,
            "latency_ms": latency,
            "max_abs_error": self.max_abs_error,
            "notes": list(self.notes),
            "onnx": self.onnx.to_json() if self.onnx else None,
            "agreement": self.agreement,
            "metric": self.metric,
            **({} if self.verdict is None else self.verdict.to_json()),
        }
