"""Run `qacomp train`: train a network from random weights and write a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qacomp.cli.console import figure, print_json
from qacomp.cli.help_page import BriefOption
from qacomp.cli.interruption import saying_what_is_kept
from qacomp.cli.options import OUTPUT, force_option, reporting
from qacomp.cli.progress import make_progress
from qacomp.cli.ranks import is_shared
from qacomp.cli.request import taking
from qacomp.cli.settings import SettingOption, SettingsCommand, setting_options, settings_given
from qacomp.cli.streams import echo

if TYPE_CHECKING:
    from qacomp.stages.from_scratch import TrainedCheckpoint

_BRIEF = {
    "arch": "lenet5, resnet20, ... (below), or module:Class",
    "data": "digits, npz:FILE, images:DIR, ... or module:function",
    "epochs": "Epochs; otherwise enough for about 800 steps",
    "batch_size": "Samples in a training step [64]",
    "lr": "Learning rate [0.02]",
    "optimizer": "sgd, adam, adamw, adadelta [{optimizer}]",
    "reg": "Pull weights into clusters: exp, sin, cos, min, sinreq",
    "k": "With --reg: clusters of a layer's weights [8]",
    "sharing": "straight-through: share in the forward pass [after]",
    "quantizer": "Train with quantized weights: dorefa or wrpn",
    "bits": "Bits of a quantized weight: 4, or 4,conv1=5 [4]",
    "prune": "Prune in training: energy, or magnitude:rate=0.9",
    "distill": "Sub-models learn from larger ones: ipkd, ta-1, ta-m",
    "seed": "Seed of all random numbers [0]",
}
"""The settings on the short help page and their texts there, since some act otherwise than in compress."""


@dataclass(frozen=True)
class TrainRequest:
    """The command line of `train`; settings: those in `qacomp.options.from_scratch`."""

    output: Path
    loss_fn: str | None
    force: bool
    as_json: bool
    settings: dict[str, Any]


class _TrainCommand(SettingsCommand):
    """The command `train`; its help lists the architectures below the options, without importing torch."""

    def make_options(self) -> list[SettingOption]:
        """Return the options for the settings of a training from scratch, with its own defaults and brief texts."""
        from qacomp.options.from_scratch import DEFAULTS, FROM_SCRATCH, SETTINGS

        briefs = {name: text.replace("{optimizer}", str(FROM_SCRATCH)) for name, text in _BRIEF.items()}
        return setting_options(SETTINGS, DEFAULTS, briefs)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names that --arch accepts."""
        from qacomp.models import list_models

        with formatter.section("Architectures"):
            formatter.write_text(", ".join(list_models()))


@click.command(
    "train", cls=_TrainCommand, settings=(), basic=tuple(_BRIEF), short_help="Train a network and write a checkpoint."
)
@click.option(
    "-o",
    "--output",
    cls=BriefOption,
    type=OUTPUT,
    default=Path("model.pt"),
    help="The checkpoint to write. [model.pt]",
    brief="The checkpoint to write [model.pt]",
)
@click.option(
    "--loss-fn",
    cls=BriefOption,
    default=None,
    metavar="NAME",
    help="Loss of training: cross-entropy, mse, or module:function of (outputs, targets). Default: by the targets.",
)
@force_option
@reporting
@taking(TrainRequest)
def train_command(asked: TrainRequest) -> None:
    """Train --arch on --data from random weights; sharing the weights is left to compress.

    Keeps the epoch with the best validation, with --reg, --quantizer and --prune the last one. The checkpoint names
    its architecture, preprocessing and data. Give a --data of your own to compress again: a file opens no others.
    """
    from qacomp.options.config import CompressConfig
    from qacomp.options.from_scratch import scratch_config
    from qacomp.ranks.joining import joined
    from qacomp.stages.from_scratch import train_network
    from qacomp.training.own_functions import OwnFunctions

    given = settings_given(asked.settings, CompressConfig())
    for name in ("arch", "data"):
        if name not in given:
            raise click.UsageError(f"missing option --{name}")
    config = scratch_config(given, "command line")
    own = OwnFunctions(asked.loss_fn)
    with saying_what_is_kept(asked.output), joined(is_shared(), cpu=config.device == "cpu") as ranks:
        progress = make_progress(asked.as_json or not ranks.first)
        trained = train_network(config, asked.output, progress, own=own, force=asked.force, ranks=ranks)
    if asked.as_json:
        print_json(trained.to_json())
    else:
        _show(trained)


def _show(trained: "TrainedCheckpoint") -> None:
    text = f"test accuracy {figure(trained.accuracy)} % (validation {figure(trained.validation_accuracy)} %)"
    if trained.accuracy is None:
        text = f"test {trained.metric} {figure(trained.value, 4)} (validation {figure(trained.validation, 4)})"
    zeros = f", {trained.zeros:,} zeros" if trained.pruning else ""
    echo(f"{trained.output}: {trained.arch}, {trained.parameters:,} parameters{zeros}, {trained.bytes:,} bytes, {text}")
    if trained.submodels:
        echo(", ".join(f"{name} {figure(value)} %" for name, value in trained.submodels.items()))
