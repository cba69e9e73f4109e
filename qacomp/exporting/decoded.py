"""What decoding gives: the file that was written, and what is known of it. Needs no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qacomp.evaluation.verdict import Verdict
from qacomp.exporting.onnx_options import OnnxFile
from qacomp.runtime.latency import Latency


@dataclass(frozen=True)
class Decoded:
    """A decoded file. `max_abs_error`: between the weights in it and the container's; accuracy in percent, if known.

    `metric`: name and value, of a model that came in as ONNX, on data with targets. `agreement`: of its outputs with
    those of the model that was compressed, as `qacomp compress` measured it. `accuracy_fp32`: of fused integer products
    with activations in fp32 (onnxruntime's accuracy level 0), where `accuracy` is with its default, int8. verdict: on
    the accuracy measured now (judged_now), or the one that the container states; None where there is none.
    """

    output: Path
    output_bytes: int
    container_bytes: int
    accuracy: float | None
    latency: Latency | None
    max_abs_error: float
    notes: tuple[str, ...]
    onnx: OnnxFile | None = None
    agreement: dict[str, Any] | None = None
    metric: dict[str, Any] | None = None
    accuracy_fp32: float | None = None
    verdict: Verdict | None = None
    judged_now: bool = False

    def to_json(self) -> dict[str, Any]:
        """The document that `decode --json` prints."""
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
