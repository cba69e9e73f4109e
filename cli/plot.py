"""Run `qacomp plot`: draw penalties, trainings, or weights with their shared values, as PNG or SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qacomp.cli.console import print_json
from qacomp.cli.options import INPUT, OUTPUT, Numbers, force_option, reporting, trust_option
from qacomp.cli.progress import make_progress
from qacomp.cli.request import taking
from qacomp.cli.streams import echo

if TYPE_CHECKING:
    from qacomp.plots import Column as DrawnColumn
    from qacomp.progress import Progress

_REGULARIZERS = ("sin", "cos", "min", "exp", "sinreq")  # in the order of the papers
_REG_HELP = "sin, cos, min, exp, sinreq, separated by commas. With hyper-parameters one each: --reg exp:init=uniform."
_OUTPUT = click.option("-o", "--output", type=OUTPUT, required=True, help="NAME.png or NAME.svg.")


@click.group("plot", short_help="Draw penalties, trainings, or weights and their shared values.")
def plot_command() -> None:
    """Draw a PNG or SVG picture, by the suffix of the output. Needs matplotlib: pip install 'qacomp[plot]'.

    All subcommands accept --json.

    \b
    qacomp plot penalty --reg sin,exp --k 8 -o penalty.png
    qacomp plot weights model.pt model.qac -o weights.svg
    qacomp plot training with.json without.json -o training.png
    """


@dataclass(frozen=True)
class PenaltyRequest:
    """The command line of `plot penalty`."""

    regs: tuple[str, ...]
    k: int
    low: float
    high: float
    levels: tuple[float, ...] | None
    output: Path
    force: bool
    as_json: bool


@dataclass(frozen=True)
class WeightsRequest:
    """The command line of `plot weights`."""

    files: tuple[Path, ...]
    layers: tuple[str, ...]
    max_panels: int
    bins: int
    log: bool
    trust_pickle: bool
    key: str | None
    output: Path
    force: bool
    as_json: bool


@dataclass(frozen=True)
class TrainingRequest:
    """The command line of `plot training`."""

    files: tuple[Path, ...]
    output: Path
    force: bool
    as_json: bool


@plot_command.command("training", short_help="Draw loss, penalty and metric of trainings by epoch.")
@click.argument("files", type=INPUT, nargs=-1, required=True)
@_OUTPUT
@force_option
@reporting
@taking(TrainingRequest)
def training_command(asked: TrainingRequest) -> None:
    """Draw the trainings in FILES, which `train --json` or `compress --json` printed, one line each.

    Of each file the stage with the most epochs is drawn: task loss, penalty, and the metric on the validation part.
    Give a training with a regularizer and one without to compare them.

    \b
    qacomp train --arch lenet5 --data digits --reg exp -o a.pt --json > with.json
    qacomp train --arch lenet5 --data digits -o b.pt --json > without.json
    qacomp plot training with.json without.json -o training.png
    """
    _check_output(asked.output, asked.files, asked.force)
    from qacomp.plots import draw_trainings, panels_of, picture_format, read_history, render

    curves = [read_history(file) for file in asked.files]
    figure = draw_trainings(curves)
    trainings = [
        {"file": str(f), "stage": c.stage, "epochs": len(c.losses)} for f, c in zip(asked.files, curves, strict=True)
    ]
    document = {"panels": panels_of(curves), "trainings": trainings}
    _write(render(figure, picture_format(asked.output)), asked.output, document, asked.as_json)


@plot_command.command("penalty", short_help="Draw the penalty of regularizers over an interval.")
@click.option("--reg", "regs", metavar="NAMES", multiple=True, help=_REG_HELP)
@click.option("--k", type=click.IntRange(2, 256), default=8, show_default=True, help="Shared values of each.")
@click.option("--low", type=float, default=-1.0, show_default=True, help="Start of the interval.")
@click.option("--high", type=float, default=1.0, show_default=True, help="End of the interval.")
@click.option(
    "--levels", type=Numbers(float), default=None, help="Shared values of min and exp: -0.8,-0.1,0.2. Replaces --k."
)
@_OUTPUT
@force_option
@reporting
@taking(PenaltyRequest)
def penalty_command(asked: PenaltyRequest) -> None:
    """Draw the penalty ρ of regularizers (default: all) over an interval, with shared values as dashed lines."""
    _check_output(asked.output, (), asked.force)
    from qacomp.plots import draw_penalties, picture_format, render
    from qacomp.plots.curves import penalty_curve

    methods = [part.strip() for given in asked.regs for part in ([given] if ":" in given else given.split(","))]
    curves = [
        penalty_curve(method, asked.k, asked.low, asked.high, levels=asked.levels)
        for method in dict.fromkeys(methods or _REGULARIZERS)
    ]
    panels = [{"reg": c.name, "k": len(c.levels), "levels": c.levels.tolist()} for c in curves]
    picture = render(draw_penalties(curves), picture_format(asked.output))
    _write(picture, asked.output, {"panels": panels}, asked.as_json)


@plot_command.command("weights", short_help="Draw histograms of weights and their shared values.")
@click.argument("files", type=INPUT, nargs=-1, required=True)
@click.option(
    "--layers", metavar="PATTERNS", multiple=True, help="Layers to draw, separated by commas: conv1, 'layer1.*'."
)
@click.option(
    "--max-panels",
    type=click.IntRange(1, 256),
    default=24,
    show_default=True,
    help="Largest number of panels; a note names layers that are left out.",
)
@click.option("--bins", type=click.IntRange(2, 2000), default=100, show_default=True, help="Bins of each histogram.")
@click.option("--log", is_flag=True, help="Draw counts on a logarithmic axis.")
@trust_option
@click.option("--key", default=None, help="Key of the network to draw, in a checkpoint that holds several.")
@_OUTPUT
@force_option
@reporting
@taking(WeightsRequest)
def weights_command(asked: WeightsRequest) -> None:
    """Draw histograms of the weights of each layer in FILES (containers or checkpoints), with one column for each file.

    A shared layer has one bar for each shared value; its height is the number of weights with that value. To see how a
    compression proceeds, give the original checkpoint, the snapshots and the container, in that order.
    """
    _check_output(asked.output, asked.files, asked.force)
    from qacomp.plots import Column, PictureSizeError, draw_weights, picture_format, render
    from qacomp.plots.reading import layer_pattern, read_layers

    files, most = asked.files, asked.max_panels
    if len(files) > most:
        raise PictureSizeError(f"{len(files)} files need more than {most} panels; give fewer, or raise --max-panels")
    patterns = [part.strip() for given in asked.layers for part in given.split(",")]
    wanted = layer_pattern(patterns)
    columns = [
        Column(file.name, read_layers(file, wanted, trust_pickle=asked.trust_pickle, key=asked.key)) for file in files
    ]
    names = list(dict.fromkeys(name for column in columns for name in column.layers))
    _check_names(files, names, patterns)
    shown = names[: most // len(files)]
    left_out = names[len(shown) :]
    remark = f"{len(shown)} of {len(names)} layers" if left_out else ""
    figure = draw_weights(columns, shown, bins=asked.bins, log=asked.log, remark=remark)
    progress = make_progress(asked.as_json)
    if left_out:
        progress.note(
            f"{len(shown)} of {len(names)} layers are drawn; raise --max-panels, or choose layers with --layers, to see"
            f" {', '.join(left_out)}"
        )
    panels = _panels(shown, files, columns, progress)
    picture = render(figure, picture_format(asked.output))
    _write(picture, asked.output, {"panels": panels, "left_out": left_out}, asked.as_json)


def _check_names(files: Sequence[Path], names: Sequence[str], patterns: Sequence[str]) -> None:
    """Raise ConfigError if there is no layer to draw, or if one of the patterns matches no layer."""
    from qacomp.errors import ConfigError
    from qacomp.plots.reading import layer_pattern

    if not names:
        which = f"matches --layers {','.join(patterns)}" if patterns else "is a float tensor with two or more axes"
        raise ConfigError(f"{', '.join(map(str, files))}: no layer {which}; `qacomp inspect` lists a container's names")
    for pattern in patterns:
        if not any(map(layer_pattern([pattern]), names)):
            raise ConfigError(f"--layers {pattern}: matches no layer; the other patterns match {', '.join(names[:8])}")


def _panels(
    names: Sequence[str], files: Sequence[Path], columns: "Sequence[DrawnColumn]", progress: "Progress"
) -> list[dict[str, Any]]:
    """Return the JSON entry of each panel, and write a note for each file that doesn't have a layer."""
    panels = []
    for name in names:
        for file, column in zip(files, columns, strict=True):
            layer = column.layers.get(name)
            if layer is None:
                progress.note(f"{file}: has no layer {name}, so that panel stays empty")
                continue
            k = None if layer.levels is None else len(layer.levels)
            panels.append({"layer": name, "file": str(file), "shape": list(layer.shape), "k": k})
    return panels


def _check_output(output: Path, files: Sequence[Path], force: bool) -> None:
    """Check the output's suffix, that it may be written, and that matplotlib is installed, before a file is read."""
    from qacomp.outputs import Output, claim
    from qacomp.plots import picture_format, require_matplotlib
    from qacomp.sources.input_files import command_files

    picture_format(output)
    claim([Output(output)], command_files(files), force=force)
    require_matplotlib()


def _write(picture: bytes, output: Path, document: dict[str, Any], as_json: bool) -> None:
    from qacomp.formats import write_atomically

    written = write_atomically(output, [picture])
    if as_json:
        print_json({"output": str(output), "output_bytes": written, **document})
    else:
        echo(f"{output}: {written:,} bytes, panels: {len(document['panels'])}")
