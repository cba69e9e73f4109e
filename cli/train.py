"""Run `qacomp train`: train a network and write a checkpoint with its architecture, preprocessing and data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from qacomp.cli.completion import complete_method
from qacomp.cli.console import figure, print_json
from qacomp.cli.interruption import saying_what_is_kept
from qacomp.cli.options import OUTPUT, force_option, reporting
from qacomp.cli.progress import make_progress
from qacomp.cli.ranks import is_shared
from qacomp.cli.request import taking
from qacomp.cli.settings import SettingsCommand
from qacomp.cli.streams import echo


@dataclass(frozen=True)
class TrainRequest:
    """The command line of `train`; settings: the values of preprocess, device and precision."""

    arch: str
    data: str
    output: Path
    epochs: int | None
    batch_size: int
    lr: float
    optimizer: str | None
    seed: int
    distill: str
    force: bool
    as_json: bool
    settings: dict[str, Any]


class _TrainCommand(SettingsCommand):
    """The command `train`; its help lists the architectures below the options, without importing torch."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names that --arch accepts."""
        from qacomp.models import list_models

        with formatter.section("Architectures"):
            formatter.write_text(", ".join(list_models()))


def _complete_optimizer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the optimizers and hyper-parameters that complete a word in the shell."""
    from qacomp.options.config import CompressConfig
    from qacomp.options.declaration import declarations

    return complete_method(declarations(CompressConfig)["optimizer"])(ctx, param, incomplete)


@click.command(
    "train",
    cls=_TrainCommand,
    settings=("preprocess", "device", "precision"),
    basic=(),
    short_help="Train a network and write a checkpoint.",
)
@click.option("--arch", required=True, help="Architecture, for example lenet5 or resnet20; all are listed below.")
@click.option("--data", required=True, metavar="SPEC", help="digits, mnist:DIR, cifar10:DIR, npz:FILE, images:DIR, ...")
@click.option("-o", "--output", type=OUTPUT, default=Path("model.pt"), help="The checkpoint to write. [model.pt]")
@click.option("--epochs", type=click.IntRange(min=1), default=None, help="Default: enough for about 800 steps.")
@click.option("--batch-size", type=click.IntRange(min=2), default=64, help="Images in a training step. [64]")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), default=0.02, help="Learning rate. [0.02]")
@click.option(
    "--optimizer",
    default=None,
    metavar="METHOD",
    shell_complete=_complete_optimizer,
    help="sgd, adam, adamw or adadelta with hyper-parameters. [sgd:nesterov=true,weight_decay=0.0005]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of all random numbers. [0]")
@click.option(
    "--distill",
    default="none",
    metavar="METHOD",
    help="How sub-models (of msdnet, slimmable_mobilenet) learn from larger ones: ipkd, ta-1, ta-m. With the weight of "
    "the teachers in the loss and the temperature: ipkd:weight=0.8,temperature=5. [none]",
)
@force_option
@reporting
@taking(TrainRequest)
def train_command(asked: TrainRequest) -> None:
    """Train --arch on --data with a cosine learning rate; keep the epoch with the best validation accuracy.

    The checkpoint holds the architecture, the preprocessing and the data spec, so `compress` needs no further option.
    Only if the data spec names files, give --data again: for safety a checkpoint can't make qacomp open other files.
    The test split is read once, at the end.
    """
    from qacomp.options.config import CompressConfig
    from qacomp.ranks.joining import joined
    from qacomp.training.pretraining import FROM_SCRATCH, TrainConfig, train_network

    given = {name: value for name, value in asked.settings.items() if value is not None}
    shape = CompressConfig().with_settings({"arch": asked.arch, "data": asked.data, **given}, "command line")
    methods = {"distill": asked.distill, "optimizer": asked.optimizer or str(FROM_SCRATCH)}
    chosen = CompressConfig().with_settings(methods, "command line")
    config = TrainConfig(
        shape, asked.epochs, asked.batch_size, asked.lr, asked.seed, chosen.distill, optimizer=chosen.optimizer
    )
    with saying_what_is_kept(asked.output), joined(is_shared(), cpu=shape.device == "cpu") as ranks:
        progress = make_progress(asked.as_json or not ranks.first)
        trained = train_network(config, asked.output, progress, force=asked.force, ranks=ranks)
    if asked.as_json:
        print_json(trained.to_json())
        return
    echo(
        f"{asked.output}: {asked.arch}, {trained.parameters:,} parameters, {trained.bytes:,} bytes, "
        f"test accuracy {figure(trained.accuracy)} % (validation {figure(trained.validation_accuracy)} %)"
    )
    if trained.submodels:
        echo(", ".join(f"{name} {figure(value)} %" for name, value in trained.submodels.items()))
