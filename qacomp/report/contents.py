"""What a report shows, gathered as plain values from a container and, where there is one, the Result that made it."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, Container, bfloat16_to_float32, open_file

if TYPE_CHECKING:
    from qacomp.result import Result
    from qacomp.training import EpochRecord
    from qacomp.weight_history import WeightHistogram

_CHUNK = 1 << 20


@dataclass(frozen=True)
class TensorRow:
    """One tensor. entropy: order-0, bits a weight; error: RMS of stored minus original over the original's RMS.

    levels, shares: the shared values in use, ascending, and each one's part of the weights; empty for dense tensors.
    history: histograms of the weights before and during the fine-tuning.
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
    levels: tuple[float, ...]
    shares: tuple[float, ...]
    history: "tuple[WeightHistogram, ...]"


@dataclass(frozen=True)
class Stage:
    """A size on the way: what it is, its bytes, and the parts they consist of."""

    name: str
    bytes: int
    parts: tuple[tuple[str, int], ...] = ()
    remark: str = ""


@dataclass(frozen=True)
class Point:
    """One operating point: bytes and top-1 accuracy in percent."""

    name: str
    bytes: int
    accuracy: float


@dataclass(frozen=True)
class Contents:
    """Everything on the page. What isn't known is None or empty, and `remarks` say why where that needs saying."""

    file: str
    facts: tuple[tuple[str, str], ...]
    fp32_bytes: int
    container_bytes: int
    bits_per_weight: float
    accuracy: Mapping[str, float]
    tensors: tuple[TensorRow, ...]
    stages: tuple[Stage, ...]
    training: "tuple[EpochRecord, ...]"
    seconds: Mapping[str, float]
    settings: str
    remarks: tuple[str, ...]
    points: tuple[Point, ...] = ()
    latency: tuple[tuple[str, float, float], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def ratio(self) -> float:
        """How many times smaller than fp32."""
        return self.fp32_bytes / max(1, self.container_bytes)


def gather(path: Path, result: "Result | None") -> Contents:
    """Read the container, decoding its shared tensors one after the other. Raises FormatError, OSError."""
    with open_file(path) as container:
        meta = container.meta
        rows = tuple(_row(container, name, result) for name in container.names)
        stages = _stages(container, rows)
        levels, version = container.levels, ".".join(map(str, container.version))
        size = container.size
    fp32 = result.checkpoint_bytes if result else sum(4 * r.values for r in rows if "float" in r.dtype)
    accuracy = _accuracy(meta, result)
    contents = Contents(
        file=path.name if result is None or not result.source.strip("<>") else Path(result.source).name,
        facts=_facts(path, meta, version, levels, result),
        fp32_bytes=fp32,
        container_bytes=size,
        bits_per_weight=result.bits_per_weight if result else 32 * size / max(1, fp32),
        accuracy=accuracy,
        tensors=rows,
        stages=(Stage("fp32 weights", fp32), *stages),
        training=result.history if result else (),
        seconds=result.seconds if result else {},
        settings=result.settings_toml if result else str(meta.get("settings", "")),
        remarks=result.notes if result else (),
    )
    return replace(contents, points=_points(contents))


def _row(container: Container, name: str, result: "Result | None") -> TensorRow:
    info = container.info(name)
    made = next((layer for layer in result.layers if layer.name == name), None) if result else None
    levels, shares = _levels(container, name) if info.k is not None else ((), ())
    entropy = -sum(p * math.log2(p) for p in shares if p > 0) if shares else None
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
        bytes=made.bytes if made else info.bytes,
        values=info.values,
        bits=8 * (made.bytes if made else info.bytes) / info.values if info.values else 0.0,
        entropy=entropy,
        error=result.relative_errors.get(name) if result else None,
        note=note,
        levels=levels,
        shares=shares,
        history=result.weight_history.get(name, ()) if result else (),
    )


def _levels(container: Container, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    shared = container.shared(name)
    book: NDArray[Any] = shared.codebook
    book = bfloat16_to_float32(book) if book.dtype == BFLOAT16 else book
    counts = np.bincount(shared.indices.reshape(-1), minlength=book.size)  # (K,)
    order = np.argsort(book.reshape(-1), kind="stable")
    total = max(1, int(counts.sum()))
    used = [i for i in order.tolist() if i < len(counts) and counts[i]]
    return tuple(float(book.reshape(-1)[i]) for i in used), tuple(float(counts[i]) / total for i in used)


def _stages(container: Container, rows: tuple[TensorRow, ...]) -> tuple[Stage, ...]:
    kinds: dict[str, int] = {}
    for section in container.sections:
        kinds[section.kind] = kinds.get(section.kind, 0) + section.bytes
    shared = [row for row in rows if row.k is not None]
    indices = sum(-(-row.values * max(1, (len(row.levels) - 1).bit_length()) // 8) for row in shared)
    side = sum(v for k, v in kinds.items() if "value" in k)
    graph, meta = kinds.get("graph", 0), kinds.get("meta", 0)
    coded = sum(v for k, v in kinds.items() if "ind" in k)
    packed = Stage(
        "shared, bit-packed",
        indices + side,
        (("indices", indices), ("codebooks, dense tensors", side)),
        "what whole bits an index would take; not written",
    )
    parts = (("indices", coded), ("codebooks, dense tensors", side), ("graph", graph))
    rest = container.size - sum(size for _, size in parts)
    remark = f"of which settings and provenance {meta:,} bytes" if meta else ""
    return packed, Stage("coded, .qac", container.size, (*parts, ("header, provenance", rest)), remark)


def _accuracy(meta: Mapping[str, Any], result: "Result | None") -> dict[str, float]:
    stored = meta.get("accuracy")
    known: dict[str, Any] = dict(stored) if isinstance(stored, Mapping) else {}
    if result:
        a = result.accuracy
        known |= {"original": a.original, "shared": a.shared, "tuned": a.tuned, "decoded": a.decoded}
    names = ("original", "shared", "tuned", "decoded")
    return {n: float(known[n]) for n in names if is_number(known.get(n))}


def _points(contents: Contents) -> tuple[Point, ...]:
    a = contents.accuracy
    points = [Point("original", contents.fp32_bytes, a["original"])] if "original" in a else []
    packed = next((s for s in contents.stages if s.name == "shared, bit-packed"), None)
    if "shared" in a and packed is not None:
        points.append(Point("shared", packed.bytes, a["shared"]))
    if final := a.get("decoded", a.get("tuned")):
        points.append(Point("container", contents.container_bytes, final))
    return tuple(points)


def _facts(
    path: Path, meta: Mapping[str, Any], version: str, levels: int, result: "Result | None"
) -> tuple[tuple[str, str], ...]:
    raw = meta.get("source")
    source: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    facts = [
        ("container", path.name),
        ("SHA-256 of the container", _digest(path)),
        ("format version", version),
        ("architecture", meta.get("arch")),
        ("data", meta.get("data")),
        ("checkpoint", result.source if result else None),
        ("kind of checkpoint", source.get("kind")),
        ("bytes of the checkpoint file", source.get("bytes")),
        ("SHA-256 of the checkpoint", source.get("sha256")),
        ("levels", levels if levels > 1 else None),
        ("seed", result.seed if result else None),
        ("largest difference of outputs", f"{result.max_abs_error:.3g}" if result and result.max_abs_error else None),
        ("written by", f"qacomp {meta['qacomp']}" if "qacomp" in meta else None),
    ]
    return tuple((name, str(value)) for name, value in facts if value is not None)


def is_number(value: object) -> bool:
    """Whether it is a finite real number; a container's metadata may hold anything."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
