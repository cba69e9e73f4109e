"""What a compression gives back: measured sizes, accuracies, and one row a tensor."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qacomp.formats import WriteReport
from qacomp.training import EpochRecord


@dataclass(frozen=True)
class LayerResult:
    """One tensor of the container. `codec_reason`: why that codec; `skipped`: why it isn't shared, or None."""

    name: str
    shape: tuple[int, ...]
    k: int | None
    bytes: int
    bits_per_weight: float | None
    entropy_bits_per_weight: float | None
    codec: str
    codec_reason: str
    skipped: str | None


@dataclass(frozen=True)
class Accuracy:
    """Top-1 on the test split in percent: of the checkpoint, after sharing, after tuning, and of the decoded file."""

    original: float | None = None
    shared: float | None = None
    tuned: float | None = None
    decoded: float | None = None


@dataclass(frozen=True)
class Result:
    """A finished compression. Sizes are bytes on disk; `checkpoint_bytes` is the network's state in fp32."""

    output: Path
    arch: str | None
    checkpoint_bytes: int
    container_bytes: int
    graph_bytes: int
    overhead_bytes: int
    ratio: float
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

    def to_json(self) -> dict[str, Any]:
        """The document that `compress --json` prints."""
        return {**asdict(self), "output": str(self.output)}


def layer_results(report: WriteReport, skipped: dict[str, str]) -> tuple[LayerResult, ...]:
    """One row for each tensor that was written."""
    rows = []
    for t in report.tensors:
        bits = 8 * t.bytes / t.values if t.values else None
        reason = None if t.k is not None else skipped.get(t.name, "kept dense")
        rows.append(LayerResult(t.name, tuple(t.shape), t.k, t.bytes, bits, t.entropy_bits, t.codec, t.reason, reason))
    return tuple(rows)
