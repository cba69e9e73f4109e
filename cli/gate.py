"""`qacomp gate`: check a container against limits, with an exit code for continuous integration."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qacomp.cli.console import count, print_json
from qacomp.cli.options import INPUT, OUTPUT, force_option, reporting
from qacomp.cli.request import taking
from qacomp.cli.settings import SettingsCommand
from qacomp.cli.streams import complain, echo, shown_name, write
from qacomp.cli.table import TableColumn, print_table

if TYPE_CHECKING:
    from qacomp.diff import Difference
    from qacomp.gating import GateReport

_STDOUT = Path("-")
_MOST = 20  # rows of changed tensors; --json has all
_LONGEST = 600  # characters of a line about a limit that fails
_COLUMNS = (
    TableColumn("limit", 0, text=True),
    TableColumn("allowed", 3, text=True),
    TableColumn("found", 2, text=True),
    TableColumn("result", 1, text=True),
)
_TENSORS = (TableColumn("tensor", 0, text=True), TableColumn("bytes", 2), TableColumn("relative RMS", 1))
_AT_LEAST_ZERO = click.FloatRange(min=0)


@dataclass(frozen=True)
class GateRequest:
    """The command line of `gate`; settings: the values of data, metric, preprocess and run_limits."""

    container: Path
    against: Path | None
    max_bytes: str | None
    max_drop: float | None
    min_verdict: str | None
    max_growth: str | None
    max_change: float | None
    markdown: Path | None
    junit: Path | None
    force: bool
    as_json: bool
    settings: dict[str, Any]


@click.command(
    "gate",
    cls=SettingsCommand,
    settings=("data", "metric", "preprocess", "run_limits"),
    basic=("data", "metric"),
    short_help="Check a .qac file against limits: exit code 1 if one fails.",
)
@click.argument("container", type=INPUT)
@click.option("--max-bytes", metavar="SIZE", default=None, help="Largest size of the file: 100KB, 100000 or 12x.")
@click.option(
    "--max-drop",
    type=_AT_LEAST_ZERO,
    default=None,
    help="Largest drop of the metric (accuracy in points) from the original model, and from that of --against.",
)
@click.option(
    "--min-verdict",
    type=click.Choice(["doubtful", "good"]),
    default=None,
    help="Lowest verdict that passes: doubtful or good.",
)
@click.option("--against", type=INPUT, default=None, help="The last release, a .qac file.")
@click.option("--max-growth", metavar="SIZE", default=None, help="Largest growth of the file: 5% or 10KB.")
@click.option(
    "--max-change",
    type=_AT_LEAST_ZERO,
    default=None,
    help="Largest change of a tensor: its RMS divided by the RMS of the last release's values.",
)
@click.option("--markdown", type=OUTPUT, default=None, help="Write a table for a pull request; - is stdout.")
@click.option("--junit", type=OUTPUT, default=None, help="Write JUnit XML with a test case for each limit.")
@force_option
@reporting
@taking(GateRequest)
def gate_command(asked: GateRequest) -> None:
    """Check CONTAINER against limits, for continuous integration. Doesn't need torch.

    The checksums are always checked. Metric and verdict are read from the file; with --data the metric of the decoded
    model is measured. Exit code 0: all limits hold; 1: a limit fails or can't be checked.

    \b
    qacomp gate model.qac --max-bytes 100KB --max-drop 0.5 --min-verdict good
    qacomp gate model.qac --against last.qac --max-growth 2% --junit gate.xml
    """
    from qacomp.formats import write_atomically
    from qacomp.gating import GateLimits, gate, junit, markdown
    from qacomp.options.config import CompressConfig
    from qacomp.outputs import Output, claim
    from qacomp.sources.input_files import command_files

    if asked.as_json and asked.markdown == _STDOUT:
        raise click.UsageError("--json and --markdown - both write stdout; give --markdown a file")
    outputs = {"--markdown": asked.markdown, "--junit": asked.junit}
    files = command_files([asked.container, asked.against], [asked.settings["data"], asked.settings["metric"]])
    wanted = {what: path for what, path in outputs.items() if path is not None and path != _STDOUT}
    claim([Output(path, what) for what, path in wanted.items()], files, force=asked.force)
    given = {name: value for name, value in asked.settings.items() if value is not None}
    config = CompressConfig().with_settings(given, "command line")
    limits = GateLimits(
        max_bytes=asked.max_bytes,
        max_drop=asked.max_drop,
        min_verdict=asked.min_verdict,
        max_growth=asked.max_growth,
        max_change=asked.max_change,
    )
    report = gate(asked.container, limits, against=asked.against, config=config)
    written = {"--markdown": markdown, "--junit": junit}
    for what, path in wanted.items():
        write_atomically(path, [written[what](report).encode("utf-8")])
    if asked.as_json:
        print_json(report.to_json())
    elif asked.markdown == _STDOUT:
        write(markdown(report))
    else:
        _show(report)
    for check in report.failed:
        complain(f"qacomp: gate: {_short(check.summary)}")
    if not report.passed:
        raise click.exceptions.Exit(1)


def _show(report: "GateReport") -> None:
    print_table(_COLUMNS, [[c.name, c.allowed, _short(c.found), c.result] for c in report.checks])
    if report.difference is not None and report.difference.tensors:
        _show_changes(report.difference)
    passed = "all hold" if report.passed else f"{len(report.failed)} fail"
    echo(f"{report.container}: limits: {len(report.limits)}, {passed}")


def _show_changes(found: "Difference") -> None:
    rows = []
    for t in found.tensors[:_MOST]:
        mark = {"added": "+", "removed": "−", "changed": "~"}[t.change]
        sizes = " → ".join(map(count, t.bytes))
        rows.append([f"{mark} {shown_name(t.name)}", sizes, "–" if t.relative is None else f"{t.relative:.4g}"])
    print_table(_TENSORS, rows)
    if len(found.tensors) > _MOST:
        echo(f"and {len(found.tensors) - _MOST} more: --json has all")


def _short(text: str) -> str:
    from qacomp.plain_text import printable

    return printable(" ".join(text.split()), _LONGEST)
