"""`qacomp train`: a checkpoint that knows its architecture, preprocessing and data."""

from pathlib import Path

import click

from qacomp.cli.console import figure, make_progress, print_json
from qacomp.cli.interruption import saying_what_is_kept
from qacomp.cli.options import OUTPUT, force_option, reporting
from qacomp.cli.settings import SettingsCommand
from qacomp.cli.streams import echo


class _TrainCommand(SettingsCommand):
    """Lists the architectures below its options, without importing torch."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The names that --arch takes."""
        from qacomp.models import list_models

        with formatter.section("Architectures"):
            formatter.write_text(", ".join(list_models()))


@click.command(
    "train",
    cls=_TrainCommand,
    settings=("size", "mean", "std", "device", "precision"),
    short_help="Train a network; the checkpoint knows its architecture and data.",
)
@click.option("--arch", required=True, help="Architecture, for example lenet5 or resnet20; see below.")
@click.option("--data", required=True, metavar="SPEC", help="digits, mnist:DIR, cifar10:DIR, npz:FILE, images:DIR, ...")
@click.option("-o", "--output", type=OUTPUT, default=Path("model.pt"), show_default=True, help="The checkpoint.")
@click.option("--epochs", type=click.IntRange(min=1), default=None, help="Default: enough for about 800 steps.")
@click.option("--batch-size", type=click.IntRange(min=2), default=64, show_default=True)
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), default=0.02, show_default=True)
@click.option("--weight-decay", type=click.FloatRange(min=0), default=5e-4, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--distill",
    type=click.Choice(["none", "ipkd", "ta-1", "ta-m"]),
    default="none",
    show_default=True,
    help="How sub-models (of msdnet, slimmable_mobilenet) learn from larger ones.",
)
@click.option(
    "--distill-weight", type=click.FloatRange(0, 1), default=None, help="Share of the teachers in the loss. [0.8]"
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Of the softened outputs. [exits 5, widths 1]",
)
@force_option
@reporting
def train_command(
    arch: str,
    data: str,
    output: Path,
    epochs: int | None,
    batch_size: int,
    lr: float,
    weight_decay: float,
    seed: int,
    distill: str,
    distill_weight: float | None,
    temperature: float | None,
    size: tuple[int, int] | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    device: str | None,
    precision: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Train --arch on --data with SGD and a cosine learning rate, keep the epoch with the best validation accuracy.

    The checkpoint carries architecture, preprocessing and data spec, so that compress needs no further flag, but
    --data again where that names files: no file's word opens another. The test
    split is read once, at the end.
    """
    from qacomp.options.config import CompressConfig
    from qacomp.training.pretraining import TrainConfig, train_network

    shape = CompressConfig(
        arch=arch, data=data, size=size, mean=mean, std=std, device=device or "auto", precision=precision or "auto"
    )
    config = TrainConfig(shape, epochs, batch_size, lr, weight_decay, seed, distill, distill_weight, temperature)
    with saying_what_is_kept(output):
        trained = train_network(config, output, make_progress(as_json), force=force)
    if as_json:
        print_json(trained.to_json())
        return
    echo(
        f"{output}: {arch}, {trained.parameters:,} parameters, {trained.bytes:,} bytes, "
        f"test accuracy {figure(trained.accuracy)} % (validation {figure(trained.validation_accuracy)} %)"
    )
    if trained.submodels:
        echo(", ".join(f"{name} {figure(value)} %" for name, value in trained.submodels.items()))
