"""Run `qacomp sweep`: size against quality over settings, and the front of what was tried."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qacomp.cli.console import count, print_json
from qacomp.cli.help_page import BriefOption
from qacomp.cli.options import FOLDER, INPUT, OUTPUT, force_option, reporting, trust_option
from qacomp.cli.progress import make_progress
from qacomp.cli.request import taking
from qacomp.cli.settings import SettingsCommand
from qacomp.cli.streams import echo, note
from qacomp.cli.table import TableColumn, print_table

if TYPE_CHECKING:
    from qacomp.sweeping import SweepPlan, SweepReport

_SHORTHANDS = ("k", "quality", "target_size", "codebook")
"""Settings that have an option of their own for --vary NAME=..."""
_FRONT = (
    TableColumn("trial", 2),
    TableColumn("bytes", 0),
    TableColumn("loss", 1),
    TableColumn("verdict", 5, text=True),
    TableColumn("settings", 3, text=True),
    TableColumn("file", 4, text=True),
)
_PEERS = (TableColumn("peer", 0, text=True), TableColumn("bytes", 1), TableColumn("loss", 2))


@dataclass(frozen=True)
class SweepRequest:
    """The command line of `sweep`; settings: those that all trials have in common."""

    model: Path | None
    folder: Path | None
    trials: int | None
    vary: tuple[str, ...]
    k: str | None
    quality: str | None
    target_size: str | None
    codebook: str | None
    storage: str | None
    study: str | None
    config_file: Path | None
    shown: str | None
    plot: Path | None
    loss_fn: str | None
    trust_pickle: bool
    force: bool
    as_json: bool
    settings: dict[str, Any]


@click.command(
    "sweep",
    cls=SettingsCommand,
    settings=("data", "metric", "preprocess", "arch", "key", "include", "exclude", "seed", "device", "run_limits"),
    short_help="Size against quality over settings, by Optuna.",
)
@click.argument("model", type=INPUT, required=False)
@click.option("-o", "--output", "folder", type=FOLDER, default=None, help="Folder of the sweep. Default: MODEL-sweep.")
@click.option("--trials", type=click.IntRange(1, 100_000), default=None, help="Trials to run now. [20]")
@click.option("--vary", multiple=True, metavar="NAME=...", help="Vary a setting: k=4,8,16 or k=4:256. Several times.")
@click.option("--k", metavar="VALUES", default=None, help="As --vary k=...: 4:256.")
@click.option("--quality", metavar="VALUES", default=None, help="As --vary quality=...: high,balanced,small.")
@click.option("--target-size", metavar="VALUES", default=None, help="As --vary target-size=...: 0.5bpw:6bpw.")
@click.option("--codebook", metavar="VALUES", default=None, help="As --vary codebook=...: tensor,channel.")
@click.option("--storage", metavar="URL", default=None, help="Database of the study, for several processes.")
@click.option("--study", metavar="NAME", default=None, help="Name of the study. Default: the model's.")
@click.option("--config", "config_file", type=INPUT, default=None, help="A TOML file of settings that stay the same.")
@click.option("--show", "shown", metavar="DIR|URL", default=None, help="Run nothing: show what a sweep has found.")
@click.option("--plot", type=OUTPUT, default=None, help="Draw the front: NAME.png or NAME.svg.")
@click.option("--loss-fn", cls=BriefOption, default=None, metavar="NAME", help="Loss of training, as in compress.")
@trust_option
@force_option
@reporting
@taking(SweepRequest)
def sweep_command(asked: SweepRequest) -> None:
    """Compress MODEL with many settings, and keep the files that no other one beats in size and quality.

    The same command again goes on; Ctrl-C keeps what has finished. Without --vary it tries k-means and rate-aware
    sharing with the settings of each. Needs Optuna: pip install 'qacomp[sweep]'.

    \b
    qacomp sweep model.onnx --trials 30
    qacomp sweep model.pt --k 4:64 --vary rounding=nearest,balanced --trials 20
    qacomp sweep --show model-sweep --plot front.svg
    """
    from qacomp.outputs import Output, claim
    from qacomp.plots import picture_format, require_matplotlib
    from qacomp.sources.input_files import command_files
    from qacomp.sweeping import show, sweep

    progress = make_progress(asked.as_json)
    if (asked.model is None) == (asked.shown is None):
        raise click.UsageError("give MODEL to sweep it, or --show DIR to see what a sweep has found")
    if asked.plot is not None:
        picture_format(asked.plot)
        require_matplotlib()
        claim(
            [Output(asked.plot, "--plot")],
            command_files([asked.model, asked.config_file], [asked.settings["data"]]),
            force=asked.force,
        )
    report = sweep(_plan(asked), progress) if asked.shown is None else show(asked.shown, asked.study)
    if asked.plot is not None:
        _draw(asked.plot, report)
    if asked.as_json:
        print_json(report.to_json())
    else:
        _show(report)


def _plan(asked: SweepRequest) -> "SweepPlan":
    from qacomp.options.config import CompressConfig
    from qacomp.sweeping import SweepPlan

    assert asked.model is not None
    config = CompressConfig.from_toml(asked.config_file) if asked.config_file else CompressConfig()
    given = {name: value for name, value in asked.settings.items() if value not in (None, ())}
    short = {name: getattr(asked, name) for name in _SHORTHANDS}
    vary = (*asked.vary, *(f"{name}={values}" for name, values in short.items() if values is not None))
    return SweepPlan(
        asked.model,
        asked.folder or asked.model.with_name(f"{asked.model.stem}-sweep"),
        20 if asked.trials is None else asked.trials,
        vary,
        config.with_settings(given, "command line"),
        asked.storage,
        asked.study,
        asked.trust_pickle,
        asked.loss_fn,
    )


def _show(report: "SweepReport") -> None:
    rows = [
        [str(p.number), count(p.bytes), f"{p.loss:.4g}", p.verdict, p.words, "–" if p.file is None else str(p.file)]
        for p in report.front
    ]
    print_table(_FRONT, rows, f"{report.model}: the front; loss: {report.measure}")
    if report.peers:
        print_table(_PEERS, [[p.name, count(p.bytes), f"{p.loss:.4g}"] for p in report.peers])
    for error in report.errors[:5]:
        echo(f"failed: {error}")
    if not report.measure.startswith("1 - cosine"):
        note("the test split chose among the trials, so its losses look too good: measure the file on other data")
    states = ", ".join(f"{number} {word}" for word, number in report.states.items() if number)
    echo(f"study {report.study} in {report.storage}: trials: {states or 'none'}, {len(report.front)} on the front")


def _draw(plot: Path, report: "SweepReport") -> None:
    from qacomp.errors import ConfigError
    from qacomp.formats import write_atomically
    from qacomp.plots import FrontPoint, draw_front, picture_format, render

    if not report.front:
        raise ConfigError(f"--plot: study {report.study} has no finished trial to draw")
    best = {point.number for point in report.front}
    front = [FrontPoint(p.bytes, p.loss, p.values) for p in report.front]
    others = [FrontPoint(p.bytes, p.loss) for p in report.points if p.number not in best]
    peers = [FrontPoint(p.bytes, p.loss, p.name) for p in report.peers]
    figure = draw_front(front, others, peers, report.measure, report.model)
    write_atomically(plot, [render(figure, picture_format(plot))])
