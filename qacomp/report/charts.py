"""Draw the report's charts: weights with their shared values, training curves, and accuracy against size."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qacomp.report import svg
from qacomp.report.contents import Point, TensorRow

if TYPE_CHECKING:
    from qacomp.training.history import EpochRecord

_WIDE, _HIGH = 320, 148
_MOST_LINES = 64


def weights_chart(row: TensorRow) -> str:
    """Draw histograms of the weights, the original's filled and later ones as lines, and below them the shared values.

    The line of a shared value is as long as its share of the weights. Each histogram is scaled to its own peak, because
    weights that are close to their shared values have peaks many times higher than the original weights. Returns "" if
    the tensor has no shared values, or one that is NaN or infinite.
    """
    if not row.levels or not all(map(math.isfinite, row.levels)):
        return ""
    low, high = _view(row)
    pad = 0.03 * (high - low) or 0.5 * abs(high) or 0.5
    levels = [(u, p) for u, p in zip(row.levels, row.shares, strict=True) if low <= u <= high]
    x = svg.linear(low - pad, high + pad, 6, _WIDE - 6)
    split, foot = (84.0, 122.0) if row.history else (6.0, 122.0)
    parts = []
    if row.history:
        y = svg.linear(0, 1.04, split, 6)
        if len(levels) <= _MOST_LINES:
            parts += [svg.line(x(u), 6, x(u), split, "level faint") for u, _ in levels]
        for i, taken in enumerate(row.history):
            peak = max(taken.counts) or 1
            part = svg.linear(0, len(taken.counts), x(taken.low), x(taken.high))
            kind = "before" if i == 0 else "after" if i == len(row.history) - 1 else "during"
            parts.append(svg.outline([c / peak for c in taken.counts], part, y, kind, closed=i == 0))
        parts.append(svg.line(6, split, _WIDE - 6, split, "axis"))
    most = max(row.shares, default=1.0)
    top = split if row.history else foot
    end = svg.linear(0, most, top, foot - 2 if row.history else split)
    width = "level" if len(levels) <= _MOST_LINES else "level thin"
    parts += [svg.line(x(u), top, x(u), end(p), width) for u, p in levels]
    parts.append(svg.line(6, foot, _WIDE - 6, foot, "axis"))
    for value in svg.ticks(low, high, 5):
        parts += [
            svg.line(x(value), foot, x(value), foot + 3, "axis"),
            svg.label(x(value), foot + 15, svg.short(value)),
        ]
    stages = ", ".join(h.stage for h in row.history)
    description = f"{row.name}: {len(row.levels)} shared values" + (f"; weights: {stages}" if stages else "")
    return svg.picture(_WIDE, _HIGH, description, "".join(parts))


def outside(row: TensorRow) -> int:
    """Return the number of shared values outside the drawn interval; few weights have them."""
    low, high = _view(row)
    return sum(not low <= u <= high for u in row.levels)


def _view(row: TensorRow) -> tuple[float, float]:
    """Return the interval to draw: that of the weights if they are known, otherwise that of the shared values."""
    if row.history:
        return min(h.low for h in row.history), max(h.high for h in row.history)
    return min(row.levels), max(row.levels)


def training_chart(records: "Sequence[EpochRecord]", name: str, values: Sequence[float]) -> str:
    """Draw one quantity over the epochs of all stages; a thin line separates two stages.

    values: one for each record; returns "" if fewer than two of them are finite.
    """
    finite = [v for v in values if math.isfinite(v)]
    if len(finite) < 2:
        return ""
    low, high = min(finite), max(finite)
    if low >= 0 and low < 0.5 * high:
        low = 0.0
    margin = 0.06 * (high - low) or 0.5
    top = high + margin
    bottom = low - margin if low else 0.0
    left, right, foot = 44, _WIDE - 8, 118
    x, y = svg.linear(1, len(values), left + 4, right), svg.linear(bottom, top, foot, 10)
    parts = []
    for value in svg.ticks(bottom, top, 4):
        parts.append(svg.line(left, y(value), right, y(value), "rule"))
        parts.append(svg.label(left - 6, y(value) + 4, svg.short(value), "end"))
    borders = [i for i in range(1, len(records)) if records[i].stage != records[i - 1].stage]
    for i in borders:
        parts.append(svg.line((x(i) + x(i + 1)) / 2, 10, (x(i) + x(i + 1)) / 2, foot, "border"))
    for start, end in zip([0, *borders], [*borders, len(records)], strict=True):
        run = [(x(i + 1), y(values[i])) for i in range(start, end) if math.isfinite(values[i])]
        if run:
            parts.append(svg.polyline(run, "curve"))
            parts += [f'<circle class="dot" cx="{px:.1f}" cy="{py:.1f}" r="1.8"/>' for px, py in run[-1:]]
        parts.append(svg.label((x(start + 1) + x(end)) / 2, foot + 15, f"{records[start].stage}, {end - start}"))
    parts.append(svg.line(left, foot, right, foot, "axis"))
    return svg.picture(_WIDE, _HIGH, f"{name} over {len(values)} epochs", "".join(parts))


def tradeoff_chart(points: Sequence[Point]) -> str:
    """Draw accuracy over bytes (logarithmic), each point with its name; "" if fewer than two have an accuracy."""
    known = [(p.name, p.bytes, p.accuracy) for p in points if p.accuracy is not None]
    if len(known) < 2:
        return ""
    width, height, left, right, foot = 640, 260, 60, 616, 218
    logs = [math.log10(max(1, size)) for _, size, _ in known]
    low, high = min(a for *_, a in known), max(a for *_, a in known)
    margin = max(0.25 * (high - low), 0.5)
    x = svg.linear(min(logs) - 0.12, max(logs) + 0.12, left, right)
    y = svg.linear(low - margin, min(high + margin, 100.5), foot, 14)
    parts = []
    for value in svg.ticks(low - margin, min(high + margin, 100.0), 4):
        parts.append(svg.line(left, y(value), right, y(value), "rule"))
        parts.append(svg.label(left - 6, y(value) + 4, f"{value:g} %", "end"))
    for exponent in range(math.floor(min(logs)) - 1, math.ceil(max(logs)) + 1):
        for factor in (1, 2, 5):
            at = exponent + math.log10(factor)
            if left <= x(at) <= right:
                parts.append(svg.line(x(at), foot, x(at), foot + 3, "axis"))
                parts.append(svg.label(x(at), foot + 16, size_name(factor * 10**exponent)))
    parts.append(svg.line(left, foot, right, foot, "axis"))
    ordered = sorted((x(at), y(a), f"{name} {a:.2f} %") for at, (name, _, a) in zip(logs, known, strict=True))
    parts.append(svg.polyline([(px, py) for px, py, _ in ordered], "during"))
    parts += [f'<circle class="point" cx="{px:.1f}" cy="{py:.1f}" r="4"/>' for px, py, _ in ordered]
    parts += _names(ordered, left, right)
    parts.append(svg.label(right, height - 8, "bytes, logarithmic", "end"))
    return svg.picture(width, height, "accuracy against size", "".join(parts))


def _names(points: Sequence[tuple[float, float, str]], left: float, right: float) -> list[str]:
    """Draw each point's label above or below the point, where it doesn't overlap a label that is already drawn."""
    taken: list[tuple[float, float, float]] = []  # left end, right end, baseline
    parts = []
    for px, py, words in points:
        width = 6.4 * len(words)
        start = min(max(left + 6, px - width / 2), right - width)
        for lift in (-10, 20, -26, 36, 52):
            if all(start > b or start + width < a or abs(py + lift - base) > 13 for a, b, base in taken):
                break
        taken.append((start, start + width, py + lift))
        parts.append(svg.label(start + width / 2, py + lift, words, kind="name"))
    return parts


def size_name(count: float) -> str:
    """Return a number of bytes as text in decimal units: 1500000 as 1.5 MB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.3g} B"
