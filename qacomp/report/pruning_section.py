"""Build the section of pruning: the whole and the pruned network, and the energies of EPruning's search (figure 3)."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qacomp.report import svg
from qacomp.report.contents import Contents
from qacomp.report.markup import number, section, text

if TYPE_CHECKING:
    from qacomp.training.pruning.energy import SearchEpoch

_WIDE, _HIGH, _LEFT, _FOOT = 640, 200, 44, 168


def pruning(c: Contents) -> str:
    """Return a table of R, the parameters and, for EPruning, the figures of F and P; and the energies by epoch."""
    report = c.pruning
    if report is None:
        return ""
    full, left = report.full, report.pruned
    rows = []
    for name, share, count, found in (
        ("whole network (F)", 1.0, report.parameters, full),
        ("pruned network (P)", report.kept_share, report.parameters_kept, left),
    ):
        told = (found.loss, found.top1, found.top3, found.top5) if found else (None,) * 4
        cells = "".join(f"<td>{number(v, 2 if i else 4)}</td>" for i, v in enumerate(told))
        rows.append(f"<tr><th scope=row>{name}</th>{cells}<td>{100 * share:.2f}</td><td>{count:,}</td></tr>")
    names = ("loss", "top-1, %", "top-3, %", "top-5, %", "R, %", "parameters")
    heads = "".join(f"<th scope=col>{name}</th>" for name in names)
    table = (
        f'<div class="scroll"><table><thead><tr><th scope=col class=words></th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
    chart = energy_chart(report.search)
    figure = ""
    if chart:
        frozen = "" if report.frozen_after is None else f" The state is frozen after epoch {report.frozen_after}."
        figure = (
            '<p class="key"><span class="k-after">best state</span><span class="k-during">mean of the states</span></p>'
            f"<figure class=wide>{chart}<figcaption>Energy, mean over each epoch.{frozen}</figcaption></figure>"
        )
    lead = f"--prune {text(report.method, 60)}: R is the share of parameters in use; figures are of the test split."
    return section("pruning", "Pruning", table + figure, lead)


def energy_chart(search: "Sequence[SearchEpoch]") -> str:
    """Draw the best and the mean energy of each epoch; "" for fewer than two epochs with a finite energy.

    After a dashed line the best state is frozen: its own energy goes on, and there is no mean.
    """
    best = [(e.epoch, e.best) for e in search if math.isfinite(e.best)]
    mean = [(e.epoch, e.mean) for e in search if e.mean is not None and math.isfinite(e.mean)]
    if len(best) < 2:
        return ""
    values = [value for _, value in (*best, *mean)]
    margin = 0.06 * (max(values) - min(values)) or 0.5
    low, high = min(values) - margin, max(values) + margin
    x, y = svg.linear(best[0][0], best[-1][0], _LEFT + 4, _WIDE - 8), svg.linear(low, high, _FOOT, 10)
    parts = []
    for value in svg.ticks(low, high, 4):
        parts.append(svg.line(_LEFT, y(value), _WIDE - 8, y(value), "rule"))
        parts.append(svg.label(_LEFT - 6, y(value) + 4, svg.short(value), "end"))
    frozen = next((e.epoch for e in search if e.frozen), None)
    if frozen is not None:
        parts.append(svg.line(x(frozen - 0.5), 10, x(frozen - 0.5), _FOOT, "border"))
    for epoch in svg.ticks(best[0][0], best[-1][0], 6):
        parts.append(svg.label(x(epoch), _FOOT + 15, svg.short(epoch)))
    parts.append(svg.polyline([(x(e), y(v)) for e, v in mean], "during") if mean else "")
    parts.append(svg.polyline([(x(e), y(v)) for e, v in best], "curve"))
    parts.append(svg.line(_LEFT, _FOOT, _WIDE - 8, _FOOT, "axis"))
    return svg.picture(_WIDE, _HIGH, f"best and mean energy over {len(search)} epochs", "".join(parts))
