"""The report's section of pruning: EPruning's figure 3 and the columns of its table 1."""

import re
from itertools import pairwise

from qacomp.report.contents import Contents
from qacomp.report.pruning_section import energy_chart, pruning
from qacomp.training.pruning.class_figures import ClassFigures
from qacomp.training.pruning.energy import SearchEpoch
from qacomp.training.pruning.report import PruningReport

SEARCH = (
    SearchEpoch(1, -1.0, -0.5, -0.5, False),
    SearchEpoch(2, -2.0, -1.5, -0.5, False),
    SearchEpoch(3, -4.0, None, None, True),
    SearchEpoch(4, -5.0, None, None, True),
)


def contents(report: PruningReport | None) -> Contents:
    return Contents("m", (), 1, 1, 1, 1.0, {}, (), (), (), {}, "", (), pruning=report)


def points(chart: str, kind: str) -> list[tuple[float, float]]:
    (path,) = re.findall(rf'class="{kind}" d="M([^"]*)"', chart)
    return [(float(x), float(y)) for x, y in (point.split() for point in path.split(" L"))]


def test_the_energy_goes_on_after_the_freeze_and_the_mean_ends_there() -> None:
    chart = energy_chart(SEARCH)
    best, mean = points(chart, "curve"), points(chart, "during")
    assert len(best) == 4 and len(mean) == 2
    assert all(b[1] > a[1] + 5 for a, b in pairwise(best))  # falling energies, y grows downwards
    assert all(m[1] < b[1] - 5 for m, b in zip(mean, best, strict=False))  # the mean lies above the best
    (border,) = re.findall(r'class="border" x1="([\d.]+)"', chart)
    assert best[1][0] < float(border) < best[2][0]
    assert energy_chart(SEARCH[:1]) == "" and energy_chart(()) == ""


def test_the_table_has_the_whole_and_the_pruned_network() -> None:
    full, left = ClassFigures(0.4906, 90.96, 98.33, 99.6), ClassFigures(0.4745, 90.91, 98.4, 99.58)
    report = PruningReport(
        "energy", "filter", 1000, 497, 0.497, 600, 20, 11, (), 2, SEARCH, None, full=full, pruned=left
    )
    page = pruning(contents(report))
    cells = [re.findall(r"<td>([^<]*)</td>", row) for row in re.findall(r"<tr><th scope=row>.*?</tr>", page)]
    assert cells == [
        ["0.4906", "90.96", "98.33", "99.60", "100.00", "1,000"],
        ["0.4745", "90.91", "98.40", "99.58", "49.70", "497"],
    ]
    assert "frozen after epoch 2" in page and "<svg" in page
    plain = pruning(contents(PruningReport("magnitude", "weight", 10, 5, 0.5, 10, 2, 2, ())))
    assert plain.count("<td>–</td>") == 8 and "<svg" not in plain
    assert pruning(contents(None)) == ""
