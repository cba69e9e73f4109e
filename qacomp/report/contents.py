"""Gather what a report shows, as plain values, from a container and from the Result of its compression if known."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import QacompError
from qacomp.evaluation.verdict import Verdict, stated_verdict
from qacomp.exporting.operating_points import operating_points
from qacomp.formats import BFLOAT16, Container, SharedTensor, bfloat16_to_float32
from qacomp.formats.encoding import index_counts
from qacomp.graphs.metadata import metadata
from qacomp.rate.record import RateSearch
from qacomp.remote import open_file
from qacomp.report.facts import facts_of
from qacomp.report.stated import Agreed, is_number, stated_agreement, stated_metric
from qacomp.sources.source_size import SourceSize

if TYPE_CHECKING:
    from qacomp.stages.figures import Figures
    from qacomp.training.history import EpochRecord, WeightHistogram
    from qacomp.training.pruning.report import PruningReport

_MOST_LEVELS, _BINS = 512, 256
_STAGES = ("original", "fine_tuned", "shared", "tuned", "decoded")


@dataclass(frozen=True)
class TensorRow:
    """One tensor of the container.

    bytes, bits: its stored size, and that size in bits per weight, codebook included. entropy: order-0 entropy of its
    indices in bits per weight; None for dense tensors. error: RMS of stored minus original weights, divided by the RMS
    of the original ones. error_db, error_of: the largest error at an operator that reads the tensor, in decibels, and
    that operator (see LayerResult). used: number of different indices; 0 for dense tensors. levels, shares: the shared
    values in use, ascending, and the fraction of the weights with each; empty for dense tensors. If there are more than
    512 distinct values, the middles of 256 bins stand for them. history: histograms of the weights before and during
    the fine-tuning.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    k: int | None
    codec: str
    reason: str
    bytes: int
    values: int
    bits: float
    entropy: float | None
    error: float | None
    note: str
    used: int
    blocks: tuple[int, ...] | None
    levels: tuple[float, ...]
    shares: tuple[float, ...]
    history: "tuple[WeightHistogram, ...]"
    error_db: float | None = None
    error_of: str = ""


@dataclass(frozen=True)
class SizeStage:
    """The size of one form of the weights: its name, its bytes, the bytes of its parts, and a remark."""

    name: str
    bytes: int
    parts: tuple[tuple[str, int], ...] = ()
    remark: str = ""


@dataclass(frozen=True)
class Point:
    """One operating point: bytes, top-1 accuracy in percent, multiply-accumulate operations of one example."""

    name: str
    bytes: int
    accuracy: float | None
    macs: int | None = None


@dataclass(frozen=True)
class Contents:
    """All content of the page. A field that isn't known is None or empty; `remarks` give the reason if there is one.

    accuracy: percent, by stage (see `Accuracy`). metric: name, the original's value and the decoded model's. latency:
    name, median and 95th percentile in milliseconds. search: what rate-aware sharing measured while it searched, known
    right after the compression only; next_steps: command line, and why.
    """

    file: str
    facts: tuple[tuple[str, str], ...]
    source_bytes: int
    fp32_bytes: int
    container_bytes: int
    bits_per_weight: float
    accuracy: Mapping[str, float]
    tensors: tuple[TensorRow, ...]
    stages: tuple[SizeStage, ...]
    training: "tuple[EpochRecord, ...]"
    seconds: Mapping[str, float]
    settings: str
    remarks: tuple[str, ...]
    agreement: tuple[Agreed, ...] = ()
    metric: tuple[str, float, float] | None = None
    submodels: tuple[Point, ...] = ()
    points: tuple[Point, ...] = ()
    latency: tuple[tuple[str, float, float], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    verdict: Verdict | None = None
    search: RateSearch | None = None
    next_steps: tuple[tuple[str, str], ...] = ()
    pruning: "PruningReport | None" = None

    @property
    def ratio(self) -> float:
        """Return how many times smaller the container is than the original source."""
        return self.source_bytes / max(1, self.container_bytes)

    @property
    def fp32_ratio(self) -> float:
        """Return how many times smaller the container is than its values in fp32."""
        return self.fp32_bytes / max(1, self.container_bytes)


def gather(path: Path, result: "Figures | None") -> Contents:
    """Read a container, with its shared tensors one after the other, and return the report's contents.

    result: of the compression that wrote the container, or None if it isn't known. Raises FormatError for a bad
    container, OSError if the file can't be read.
    """
    with open_file(path) as container:
        meta = metadata(container)
        rows = tuple(_row(container, name, result) for name in container.names)
        stages = _stages(container, rows)
        submodels, problem = _submodels(container, path)
        levels, version = container.levels, ".".join(map(str, container.version))
        size = container.size
    own = SourceSize.told(meta, sum(4 * r.values for r in rows if "float" in r.dtype))
    if result is not None:
        own = SourceSize(result.source_bytes, result.checkpoint_bytes)
    accuracy = _accuracy(meta, result)
    contents = Contents(
        file=Path(result.source).name if result and result.source else path.name,
        facts=facts_of(path, meta, version, levels, result),
        source_bytes=own.bytes,
        fp32_bytes=own.fp32,
        container_bytes=size,
        bits_per_weight=result.bits_per_weight if result else 32 * size / max(1, own.fp32),
        accuracy=accuracy,
        tensors=rows,
        stages=(SizeStage("original source", own.bytes), SizeStage("fp32 weights", own.fp32), *stages),
        training=result.history if result else (),
        pruning=result.pruning if result else None,
        seconds=result.seconds if result else {},
        settings=result.settings_toml if result else str(meta.get("settings", "")),
        remarks=(*(result.notes if result else ()), *problem),
        submodels=submodels,
        agreement=stated_agreement(meta),
        metric=stated_metric(meta),
        verdict=result.verdict if result else stated_verdict(meta),
        search=result.rate_search if result else None,
        next_steps=tuple((step.command, step.why) for step in result.next_steps) if result else (),
    )
    return replace(contents, points=_points(contents))


def _row(container: Container, name: str, result: "Figures | None") -> TensorRow:
    info = container.measured(name)
    made = next((layer for layer in result.layers if layer.name == name), None) if result else None
    shared = container.shared(name) if info.k is not None else None
    size = info.bytes if made is None else made.bytes
    assert size is not None  # unknown only in a file that is cut off
    entropy, used = (None, 0) if shared is None else _usage(shared)
    levels, shares = ((), ()) if shared is None else _levels(shared)
    note = (made.skipped or "") if made else ""
    if info.same_as is not None:
        note = f"the same as {info.same_as}, stored once"
    return TensorRow(
        name=name,
        shape=tuple(info.shape),
        dtype=info.dtype,
        k=info.k,
        codec=info.codec,
        reason=made.codec_reason if made else "",
        bytes=size,
        values=info.values,
        bits=8 * size / max(info.values, 1),
        entropy=entropy,
        error=result.relative_errors.get(name) if result else None,
        error_db=made.error_db if made else None,
        error_of=(made.error_of or "") if made else "",
        note=note,
        used=used,
        blocks=info.blocks,
        levels=levels,
        shares=shares,
        history=result.weight_history.get(name, ()) if result else (),
    )


def _usage(shared: SharedTensor) -> tuple[float | None, int]:
    """Return the order-0 entropy of the indices in bits per weight, and the number of different indices."""
    counts = index_counts(shared.indices)
    if not shared.indices.size:
        return None, 0
    shares = counts[counts > 0] / shared.indices.size
    return float(-(shares * np.log2(shares)).sum()) + 0.0, len(shares)


def _levels(shared: SharedTensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if shared.blocks is None:
        counts = index_counts(shared.indices, shared.codebook.size)  # (K,)
        values, place = np.unique(_numbers(shared.codebook), return_inverse=True)
        weights = np.bincount(place.reshape(-1), weights=counts, minlength=len(values))
    else:
        values, weights = np.unique(_numbers(shared.dense()), return_counts=True)
    values, weights = values[weights > 0], weights[weights > 0]
    if len(values) > _MOST_LEVELS and np.isfinite(values).all():
        weights, edges = np.histogram(values, _BINS, weights=weights)
        values = (edges[1:] + edges[:-1]) / 2
    total = max(1.0, float(weights.sum()))
    return tuple(values.tolist()), tuple((weights / total).tolist())


def _numbers(array: NDArray[Any]) -> NDArray[np.float64]:
    wide = bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
    return wide.reshape(-1).astype(np.float64)


def _stages(container: Container, rows: tuple[TensorRow, ...]) -> tuple[SizeStage, ...]:
    kinds: dict[str, int] = {}
    for section in container.sections:
        kinds[section.kind] = kinds.get(section.kind, 0) + section.bytes
    shared = [row for row in rows if row.k is not None]
    indices = sum(-(-row.values * max(1, (row.used - 1).bit_length()) // 8) for row in shared)
    side = sum(v for k, v in kinds.items() if "value" in k)
    graph, meta = kinds.get("graph", 0), kinds.get("meta", 0)
    coded = sum(v for k, v in kinds.items() if "ind" in k)
    packed = SizeStage(
        "shared, bit-packed",
        indices + side,
        (("indices", indices), ("codebooks, dense tensors", side)),
        "computed, not written: every index with the same whole number of bits",
    )
    parts = (("indices", coded), ("codebooks, dense tensors", side), ("graph", graph))
    rest = container.size - sum(size for _, size in parts)
    remark = f"settings and provenance are {meta:,} bytes of these" if meta else ""
    return packed, SizeStage("coded, .qac", container.size, (*parts, ("header, provenance", rest)), remark)


def _accuracy(meta: Mapping[str, Any], result: "Figures | None") -> dict[str, float]:
    stored = meta.get("accuracy")
    known: dict[str, Any] = dict(stored) if isinstance(stored, Mapping) else {}
    if result:
        a = result.accuracy
        known |= {name: getattr(a, name) for name in _STAGES}
    return {n: float(known[n]) for n in _STAGES if is_number(known.get(n))}


def _points(contents: Contents) -> tuple[Point, ...]:
    a = contents.accuracy
    points = [Point("original", contents.source_bytes, a["original"])] if "original" in a else []
    packed = next((s for s in contents.stages if s.name == "shared, bit-packed"), None)
    if "shared" in a and packed is not None:
        points.append(Point("shared", packed.bytes, a["shared"]))
    inside = [p for p in contents.submodels if p.accuracy is not None]
    final = a.get("decoded", a.get("tuned"))
    if final is not None and not inside:
        points.append(Point("container", contents.container_bytes, final))
    return (*points, *inside)


def _submodels(container: Container, path: Path) -> tuple[tuple[Point, ...], tuple[str, ...]]:
    """Return the networks that the container's metadata list, and the problem if they can't be read from it."""
    try:
        found = operating_points(container, str(path))
    except QacompError as problem:
        return (), (f"The operating points aren't shown: {problem}",)
    return tuple(Point(p.name, p.bytes, p.accuracy if is_number(p.accuracy) else None, p.macs) for p in found), ()
