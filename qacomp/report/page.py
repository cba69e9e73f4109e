"""Build the page from its sections; a content security policy forbids it to load anything or to run scripts."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from qacomp.formats import write_atomically
from qacomp.report import pruning_section, search_sections, sections
from qacomp.report.contents import Contents, gather
from qacomp.report.markup import text
from qacomp.report.measure import environment, measured
from qacomp.runtime.limits import measured_together

if TYPE_CHECKING:
    from qacomp.stages.figures import Figures

_PARTS = (
    sections.sizes,
    sections.accuracy,
    sections.submodels,
    sections.verdict,
    sections.agreement,
    search_sections.next_steps,
    search_sections.limits,
    search_sections.front,
    search_sections.sensitivities,
    sections.layers,
    sections.weights,
    sections.training,
    pruning_section.pruning,
    sections.time,
    sections.remarks,
    sections.provenance,
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@measured_together()
def write_report(target: Path, container: Path, result: "Figures | None" = None, *, measure: bool = True) -> Path:
    """Write the report of a container as HTML to `target`, and return `target`.

    result: of the compression that wrote the container; it adds training curves, errors and seconds. measure: decode
    the container to ONNX to measure sizes and latency. Raises FormatError for a bad container, OutputNotWritableError.
    """
    contents = replace(gather(container, result), environment=environment())
    if measure:
        contents = measured(contents, container)
    write_atomically(target, [render(contents).encode("utf-8")])
    return target


def render(c: Contents) -> str:
    """Return the HTML document."""
    parts = "".join(part(c) for part in _PARTS)
    facts = dict(c.facts)
    said = [facts[name] for name in ("architecture", "data") if name in facts]
    style = files("qacomp.report").joinpath("style.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{text(c.file, 80)}: qacomp report</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="kicker">qacomp report</p>
<h1>{text(c.file, 80)}</h1>
{f'<p class="sub">{text(" on ".join(said), 200)}</p>' if said else ""}
{sections.headline(c)}
</header>
<main>
{parts}</main>
</body>
</html>
"""
