"""The tables of the papers' claims, from benchmarks/results/papers.json: the verdicts, and each claim's cells."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _papers_cells import parts_of, pivot
from _papers_statistics import Interval

DOCS = Path(__file__).resolve().parents[1] / "docs"
PICTURES = {  # by claim: pictures of _papers_figures, and what they show; the text names those that were drawn
    "assistants_scratch": (("papers_assistants", "Accuracy by sub-model, a line for each training"),),
    "regularizers": (("papers_regularizers", "Accuracy over the baseline's, and the baseline's on a second axis"),),
    "sinreq": (
        ("papers_weights", "Weights of conv2 before and after each epoch, without and with SinReQ"),
        ("papers_convergence", "Validation accuracy and penalty by epoch, without and with SinReQ"),
    ),
}
Rows = Sequence[dict[str, Any]]


def section(rows: Rows, name: str) -> str:
    """Return `verdicts`, `hours`, or how the claim of that name is tested, with its tables."""
    whole = {"verdicts": verdicts, "hours": hours}
    return whole[name](rows) if name in whole else cells(rows, name)


def table(header: list[str], rows: list[list[str]], right: int = 1) -> str:
    """A Markdown table; columns from number `right` on are right-aligned."""
    marks = ["---"] * right + ["---:"] * (len(header) - right)
    return "".join("| " + " | ".join(line) + " |\n" for line in [header, marks, *rows])


def verdicts(rows: Rows) -> str:
    """Return each claim, how it ends here, and the intervals that this rests on."""
    lines = []
    for number, row in enumerate(rows):
        r = row["results"]
        answers = [
            f"{a['question']}: {_interval(a)} ({a['n']} of {a['seeds']} seeds)" for a in r["answers"] if "mean" in a
        ]
        letter = chr(ord("a") + number)
        lines.append([f"({letter}) {row['settings']['paper']}: {row['description']}", r["verdict"], "; ".join(answers)])
    return table(["claim", "here", "points of test accuracy, mean and 95 % interval"], lines, 3)


def _interval(a: dict[str, Any]) -> str:
    return Interval(a["mean"], a["low"], a["high"], a["n"]).told


def cells(rows: Rows, claim: str) -> str:
    """Return how a claim is tested here, and its tables."""
    row = next((row for row in rows if row["name"] == claim), None)
    if row is None:
        return "Not run yet.\n"
    r = row["results"]
    hours = f"{r['cpu_hours']:.2f} CPU hours" if r["pieces"] else "nothing has run yet"
    text = f"{row['settings']['shape']}. {r['pieces']} of {r['of']} pieces, {hours}.\n"
    text = text[0].upper() + text[1:] + "".join(f"\n{remark}\n" for remark in r.get("remarks", []))
    for part in parts_of(r.get("cells", [])):
        columns, lines = pivot(r["cells"], part)
        text += "\n" + table([part, *columns], lines)
    for name, shown in PICTURES.get(claim, ()):
        if (DOCS / f"{name}.svg").exists():
            text += f"\n![{shown}]({name}.svg)\n"
    return text


def hours(rows: Rows) -> str:
    """Return the CPU hours and the pieces by claim."""
    found = [
        [row["name"], f"{r['pieces']} of {r['of']}", f"{r['cpu_hours']:.2f}"]
        for row in rows
        if (r := row["results"])["of"]
    ]
    return table(["claim", "pieces", "CPU hours"], found)
