"""Draw the front of a search: the distance of each scale that was tried against its bytes."""

import math
from collections.abc import Sequence

from qacomp.rate.quality import DISTANCES
from qacomp.rate.record import RateSearch
from qacomp.report import svg
from qacomp.report.charts import size_name

_WIDE, _HIGH, _LEFT, _RIGHT, _TOP, _FOOT = 640, 260, 60, 616, 14, 218
_ROOM = 1.3  # factor on both ends of the distances, so that no point lies on the frame


def front_chart(search: RateSearch) -> str:
    """Draw bytes of the weights and distances, both logarithmic, the chosen point, and the bounds of --quality.

    Returns "" if fewer than two trials have both figures.
    """
    points = [(size, far, scale == search.chosen) for scale, size, far in search.front if far > 0 and size > 0]
    if len(points) < 2:
        return ""
    heights = [*(math.log10(far) for _, far, _ in points), *(math.log10(bound) for bound in DISTANCES.values())]
    room, logs = math.log10(_ROOM), [math.log10(size) for size, _, _ in points]
    y = svg.linear(min(heights) - room, max(heights) + room, _FOOT, _TOP)
    x = svg.linear(min(logs) - 0.05, max(logs) + 0.05, _LEFT, _RIGHT)
    parts = _distance_axis(min(heights) - room, max(heights) + room, y) + _bytes_axis(logs, x)
    for word, bound in DISTANCES.items():
        height = y(math.log10(bound))
        parts.append(svg.line(_LEFT, height, _RIGHT, height, "border"))
        parts.append(svg.label(_RIGHT, height - 4, f"--quality {word}: {bound:g}", "end", "name"))
    places = sorted((x(math.log10(size)), y(math.log10(far)), chosen) for size, far, chosen in points)
    parts.append(svg.polyline([(px, py) for px, py, _ in places], "during"))
    for px, py, chosen in places:
        kind, radius = ("chosen", 6) if chosen else ("point", 4)
        parts.append(f'<circle class="{kind}" cx="{px:.1f}" cy="{py:.1f}" r="{radius}"/>')
    parts.append(svg.label(_RIGHT, _HIGH - 8, "bytes of the weights, logarithmic", "end"))
    return svg.picture(_WIDE, _HIGH, f"distance against bytes at {len(points)} scales", "".join(parts))


def _distance_axis(low: float, high: float, y: svg.Scale) -> list[str]:
    parts = []
    for exponent in range(math.floor(low), math.ceil(high) + 1):
        if low <= exponent <= high:
            parts.append(svg.line(_LEFT, y(exponent), _RIGHT, y(exponent), "rule"))
            parts.append(svg.label(_LEFT - 6, y(exponent) + 4, svg.short(10.0**exponent), "end"))
    return parts


def _bytes_axis(logs: Sequence[float], x: svg.Scale) -> list[str]:
    """Draw the foot with ticks at 1, 2 and 5 times powers of ten, or at both ends where there are too few of these."""
    places = [e + math.log10(f) for e in range(math.floor(min(logs)) - 1, math.ceil(max(logs)) + 1) for f in (1, 2, 5)]
    inside = [place for place in places if _LEFT <= x(place) <= _RIGHT]
    parts = [svg.line(_LEFT, _FOOT, _RIGHT, _FOOT, "axis")]
    for place in inside if len(inside) > 1 else [min(logs), max(logs)]:
        parts.append(svg.line(x(place), _FOOT, x(place), _FOOT + 3, "axis"))
        parts.append(svg.label(x(place), _FOOT + 16, size_name(10**place)))
    return parts
