"""Build small pieces of SVG: coordinates, paths, and axes with round ticks. The page's classes give the colours."""

import math
from collections.abc import Callable, Sequence

from qacomp.report.markup import text

Scale = Callable[[float], float]


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Return a linear map from [low, high] to [start, end]; if `low` equals `high`, all maps to the middle."""
    if not high > low:
        return lambda value: (start + end) / 2
    return lambda value: start + (end - start) * (value - low) / (high - low)


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Return about `wanted` round numbers in [low, high]: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low or not math.isfinite(high - low):
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """Return a tick's label: 0.25, 1,200, 2e-05."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:,.6g}" if abs(value) >= 1 else f"{value:.4g}"
    return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e").replace(".0e", "e")


def polyline(points: Sequence[tuple[float, float]], kind: str) -> str:
    """Draw a line through the points."""
    return f'<path class="{kind}" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>'


def outline(heights: Sequence[float], x: Scale, y: Scale, kind: str, *, closed: bool) -> str:
    """Draw a histogram's outline: bar i of `heights` from x(i) to x(i + 1). closed: the path is closed along y(0)."""
    path = [f"M{x(0):.1f} {y(0.0):.1f}"]
    for i, height in enumerate(heights):
        path.append(f"V{y(height):.1f}H{x(i + 1):.1f}")
    path.append(f"V{y(0.0):.1f}" + ("Z" if closed else ""))
    return f'<path class="{kind}" d="{"".join(path)}"/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Draw a straight line."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def label(x: float, y: float, words: str, anchor: str = "middle", kind: str = "tick") -> str:
    """Draw a label; `words` are escaped and cut to 60 characters."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(words, 60)}</text>'


def picture(width: int, height: int, description: str, body: str) -> str:
    """Return an <svg> that fills the width available to it, with a description for readers who can't see it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(description)}"'
        f' preserveAspectRatio="xMidYMid meet">{body}</svg>'
    )
