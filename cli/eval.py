"""Run `qacomp eval`: measure accuracy, size and latency of a container, an ONNX file or a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qacomp.cli.console import count, figure, print_json
from qacomp.cli.options import INPUT, OUTPUT, force_option, reporting, run_limits, trust_option
from qacomp.cli.progress import make_progress
from qacomp.cli.request import taking
from qacomp.cli.settings import SettingsCommand
from qacomp.cli.streams import shown_name
from qacomp.cli.table import TableColumn, print_table

if TYPE_CHECKING:
    from qacomp.evaluate import MeasuredFile, MeasuredPoint

_LIMITS = "run_limits"


@dataclass(frozen=True)
class EvalRequest:
    """The command line of `eval`; settings: the values of the options that `eval` has in common with `compress`."""

    file: Path
    plot: Path | None
    trust_pickle: bool
    force: bool
    as_json: bool
    settings: dict[str, Any]


@click.command(
    "eval",
    cls=SettingsCommand,
    settings=("data", "metric", "arch", "key", "preprocess", "device", _LIMITS),
    basic=("data", "metric", "arch", "preprocess"),
    short_help="Measure a .qac file, an ONNX file or a checkpoint.",
)
@click.argument("file", type=INPUT)
@click.option(
    "--plot", type=OUTPUT, default=None, help="Draw accuracy over the operating points: NAME.png or NAME.svg."
)
@trust_option
@force_option
@reporting
@taking(EvalRequest)
def eval_command(asked: EvalRequest) -> None:
    """Measure accuracy, size and latency of FILE on the test split of --data, or of the data that FILE names.

    A container that holds several networks is measured at each of its operating points.
    """
    from qacomp.evaluate import measure_file
    from qacomp.options.config import CompressConfig
    from qacomp.outputs import Output, claim
    from qacomp.runtime.limits import limited_runs
    from qacomp.sources.input_files import command_files

    progress = make_progress(asked.as_json)
    if asked.plot is not None:
        _check_plot(asked.plot)
        files = command_files([asked.file], [asked.settings["data"]])
        claim([Output(asked.plot, "--plot")], files, force=asked.force)
    given = {name: value for name, value in asked.settings.items() if name != _LIMITS and value is not None}
    config = CompressConfig().with_settings(given, "command line").check()
    with limited_runs(run_limits(asked.settings)):
        measured = measure_file(asked.file, config, trust_pickle=asked.trust_pickle)
    for note in measured.notes:
        progress.note(note)
    if asked.plot is not None:
        _draw(asked.plot, measured)
        progress.note(f"{asked.plot}: a plot of {len(measured.points)} operating points was written")
    if asked.as_json:
        print_json(measured.to_json())
    else:
        _show(asked.file, measured)


def _show(file: Path, measured: "MeasuredFile") -> None:
    metric = _column(measured)
    times = (TableColumn("p50", 4), TableColumn("p95", 6))
    if measured.points:
        rows = [
            [shown_name(point.name), count(point.bytes), count(point.macs), _value(point), *_milliseconds(point)]
            for point in measured.points
        ]
        columns = (
            TableColumn("operating point", 0, text=True),
            TableColumn("bytes to download", 2),
            TableColumn("MACs", 5),
        )
        print_table((*columns, TableColumn(metric, 1), *times), rows)
    row = [str(file), measured.kind, count(measured.bytes), _value(measured), count(measured.samples)]
    columns = (TableColumn("file", 0, text=True), TableColumn("kind", 7, text=True), TableColumn("bytes", 2))
    print_table(
        (*columns, TableColumn(metric, 1), TableColumn("samples", 5), *times), [[*row, *_milliseconds(measured)]]
    )


def _column(measured: "MeasuredFile") -> str:
    """Return the heading of the metric's column: accuracy, or the name of another metric."""
    return "accuracy" if measured.metric is None else str(measured.metric["name"])


def _value(measured: "MeasuredFile | MeasuredPoint") -> str:
    """Return the accuracy in percent, the value of another metric, or a dash if nothing was measured."""
    if measured.accuracy is None and measured.metric is not None:
        return f"{measured.metric['value']:.6g}"
    return figure(measured.accuracy, 2, " %")


def _milliseconds(measured: "MeasuredFile | MeasuredPoint") -> tuple[str, str]:
    """Return the median and the 95th percentile of the latency as text, or dashes."""
    latency = measured.latency
    return figure(latency.p50_ms if latency else None, 3, " ms"), figure(latency.p95_ms if latency else None, 3, " ms")


def _check_plot(plot: Path) -> None:
    """Check the suffix of the plot and that matplotlib is installed, before anything is measured."""
    from qacomp.plots import picture_format, require_matplotlib

    picture_format(plot)
    require_matplotlib()


def _draw(plot: Path, measured: "MeasuredFile") -> None:
    from qacomp.errors import ConfigError
    from qacomp.formats import write_atomically
    from qacomp.plots import CurvePoint, draw_operating_points, picture_format, render

    if not measured.points:
        raise ConfigError(f"--plot: {measured.file} holds a single network, so there is no curve; leave --plot out")
    points = [
        CurvePoint(p.name, p.accuracy, p.bytes, p.latency.p50_ms)
        for p in measured.points
        if p.accuracy is not None and p.latency is not None
    ]
    if len(points) < len(measured.points):
        raise ConfigError(
            f"--plot: needs an accuracy of every network in {measured.file}; give --data with labels, and leave"
            " --metric out"
        )
    write_atomically(plot, [render(draw_operating_points(points), picture_format(plot))])
