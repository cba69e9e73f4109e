"""`qacomp eval`: accuracy, size and latency of a container, an ONNX file or a checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qacomp.cli.console import count, figure, make_progress, print_json, print_table
from qacomp.cli.options import INPUT, OUTPUT, force_option, reporting, run_limits
from qacomp.cli.settings import SettingsCommand
from qacomp.cli.streams import shown_name

if TYPE_CHECKING:
    from qacomp.evaluate import Measured, MeasuredPoint


@click.command(
    "eval",
    cls=SettingsCommand,
    settings=("data", "metric", "arch", "key", "size", "mean", "std", "device", "run_seconds", "run_memory"),
    short_help="Accuracy, size and latency of a .qac, .onnx or checkpoint.",
)
@click.argument("file", type=INPUT)
@click.option("--plot", type=OUTPUT, default=None, help="Draw the curve over its operating points: NAME.png or .svg.")
@click.option("--trust-pickle", is_flag=True, help="Run a pickle's own code: only for files whose author you trust.")
@force_option
@reporting
def eval_command(
    file: Path,
    data: str | None,
    metric: str | None,
    arch: str | None,
    key: str | None,
    size: tuple[int, int] | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    device: str | None,
    plot: Path | None,
    trust_pickle: bool,
    force: bool,
    as_json: bool,
    **limits: Any,
) -> None:
    """Measure FILE on the test split of --data, or of the data that FILE names; of a container each operating point."""
    from qacomp.evaluate import measure_file
    from qacomp.options.config import CompressConfig
    from qacomp.outputs import Output, claim
    from qacomp.runtime.limits import limited_runs
    from qacomp.sources.input_files import command_files

    progress = make_progress(as_json)
    if plot is not None:
        _check_plot(plot)
        claim([Output(plot, "--plot")], command_files([file], [data]), force=force)
    config = CompressConfig(
        arch=arch, key=key, data=data, metric=metric or "auto", size=size, mean=mean, std=std, device=device or "auto"
    ).check()
    with limited_runs(run_limits(limits)):
        measured = measure_file(file, config, trust_pickle=trust_pickle)
    for note in measured.notes:
        progress.note(note)
    if plot is not None:
        _draw(plot, measured)
        progress.note(f"{plot}: the curve over {len(measured.points)} operating points")
    if as_json:
        print_json(measured.to_json())
        return
    if measured.points:
        rows = [
            [shown_name(point.name), count(point.bytes), count(point.macs), _value(point), *_milliseconds(point)]
            for point in measured.points
        ]
        columns = ["operating point", "bytes to download", "MACs", _column(measured), "p50", "p95"]
        print_table(rows, columns)
    row = [str(file), measured.kind, count(measured.bytes), _value(measured), count(measured.samples)]
    columns = ["file", "kind", "bytes", _column(measured), "samples", "p50", "p95"]
    print_table([[*row, *_milliseconds(measured)]], columns)


def _column(measured: "Measured") -> str:
    """The metric's name."""
    return "accuracy" if measured.metric is None else str(measured.metric["name"])


def _value(measured: "Measured | MeasuredPoint") -> str:
    """Accuracy in percent, another metric as it is, or a dash."""
    if measured.accuracy is None and measured.metric is not None:
        return f"{measured.metric['value']:.6g}"
    return figure(measured.accuracy, 2, " %")


def _milliseconds(measured: "Measured | MeasuredPoint") -> tuple[str, str]:
    """Median and 95th percentile."""
    latency = measured.latency
    return figure(latency.p50_ms if latency else None, 3, " ms"), figure(latency.p95_ms if latency else None, 3, " ms")


def _check_plot(plot: Path) -> None:
    """What can fail is found before anything is measured."""
    from qacomp.plots import picture_format, require_matplotlib

    picture_format(plot)
    require_matplotlib()


def _draw(plot: Path, measured: "Measured") -> None:
    from qacomp.errors import ConfigError
    from qacomp.formats import write_atomically
    from qacomp.plots import CurvePoint, draw_operating_points, picture_format, render

    if not measured.points:
        raise ConfigError(f"--plot: {measured.file} holds one network; there is no curve to draw")
    points = [
        CurvePoint(p.name, p.accuracy, p.bytes, p.latency.p50_ms)
        for p in measured.points
        if p.accuracy is not None and p.latency is not None
    ]
    if len(points) < len(measured.points):
        raise ConfigError(f"--plot: draws accuracies, and not all of {measured.file}'s networks have one")
    write_atomically(plot, [render(draw_operating_points(points), picture_format(plot))])
