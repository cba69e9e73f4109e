"""`qacomp compress`: a checkpoint in, a container out, with sizes and accuracy before and after."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qacomp.cli.console import agreement_line, count, figure, make_progress, print_json, print_table
from qacomp.cli.interruption import saying_what_is_kept
from qacomp.cli.options import (
    FOLDER,
    INPUT,
    OUTPUT,
    LayerNumbers,
    Numbers,
    data_option,
    device_option,
    precision_option,
    preprocessing_options,
    reporting,
)
from qacomp.cli.pruning import prune_options

if TYPE_CHECKING:
    from qacomp.config import CompressConfig
    from qacomp.progress import Progress
    from qacomp.result import Result


_BY_LAYER = ("k", "bits", "strength")


@click.command("compress", short_help="Compress a checkpoint into a .qac file.")
@click.argument("checkpoint", type=INPUT)
@click.option("-o", "--output", type=OUTPUT, default=None, help="The container. Default: beside the checkpoint, .qac.")
@click.option("--reg", default=None, help="Regularizer of the fine-tuning: none, sin, cos, min, exp, sinreq. [none]")
@click.option("--k", "k", type=LayerNumbers(), multiple=True, help="Shared values per layer: 8, or conv1=16,fc=4. [16]")
@click.option("--levels", type=Numbers(int), default=None, help="A progressive file: 4,16,64 in place of --k.")
@click.option("--scope", type=click.Choice(["all", "conv", "dense"]), default=None, help="Which layers. Default: all.")
@click.option("--codebook", default=None, help="One for each tensor, channel, or group:64 weights of one. [tensor]")
@click.option("--include", multiple=True, help="Share these tensors alone, by name or pattern; of any size.")
@click.option("--exclude", multiple=True, help="Leave these tensors alone, by name or pattern.")
@click.option("--min-size", type=int, default=None, help="Tensors of fewer values aren't shared. [256]")
@click.option("--sharing", type=click.Choice(["auto", "after", "straight-through"]), default=None, help="When. [auto]")
@click.option("--entropy", type=float, default=None, help="Straight-through: how much cheaper indices count. [0]")
@click.option(
    "--strength",
    type=LayerNumbers(float),
    multiple=True,
    help="The papers' λ, one for all layers, or conv1=2. Default: balanced, see --pull.",
)
@click.option("--pull", type=float, default=None, help="How far each layer's λ pulls its weights to their levels. [4]")
@click.option("--warmup", type=float, default=None, help="Fraction of the steps over which λ rises from 0. [0.5]")
@click.option("--schedule", type=click.Choice(["warmup", "constant", "tanh"]), default=None, help="Of λ. [warmup]")
@click.option("--init", type=click.Choice(["kmeans", "quantile", "uniform"]), default=None, help="Of u. [kmeans]")
@click.option(
    "--range", type=click.Choice(["layer", "global", "learned"]), default=None, help="Of sin and cos. [layer]"
)
@click.option("--slices", type=int, default=None, help="A step's penalty looks at one part in so many of a layer. [1]")
@click.option("--quantizer", default=None, help="Quantize in the forward pass: none, dorefa or wrpn. [none]")
@click.option("--bits", type=LayerNumbers(), multiple=True, help="The quantizer's: 4, or conv1=5,fc=3. [4]")
@click.option("--ends", default=None, help="Bits of the first and last layer: same, full (precision), or 8. [same]")
@click.option(
    "--quantizer-scale",
    type=click.Choice(["layer", "unit"]),
    default=None,
    help="Levels in each layer's own units, or in [−1, 1] as in the papers. [layer]",
)
@click.option("--activations", type=int, default=None, help="Bits of the ReLUs' outputs. Default: not quantized.")
@click.option(
    "--domain",
    type=click.Choice(["auto", "dorefa", "wrpn", "dorefa-raw", "wrpn-raw"]),
    default=None,
    help="Whose levels sinreq's zeros are; -raw: the paper's formula. Default: the quantizer's.",
)
@click.option("--learn-bits", is_flag=True, default=None, help="sinreq: train each layer's bits.")
@click.option("--bits-penalty", type=float, default=None, help="What a learned bit costs in the loss. [0.03]")
@click.option("--epochs", type=int, default=None, help="Epochs of fine-tuning. Default: about 1,000 steps, 3 to 30.")
@click.option("--tune-epochs", type=int, default=None, help="Epochs of cumulative tuning. Default: about 600 steps.")
@click.option("--batch-size", type=int, default=None, help="[128]")
@click.option("--lr", type=float, default=None, help="Learning rate of fine-tuning. [0.02]")
@click.option(
    "--lr-levels", type=float, default=None, help="Learning rate of the learned representatives. Default: balanced."
)
@click.option("--lr-tune", type=float, default=None, help="Learning rate of cumulative tuning. [0.001]")
@click.option("--momentum", type=float, default=None, help="[0.9]")
@click.option("--weight-decay", type=float, default=None, help="[0.0001]")
@click.option(
    "--distill",
    type=click.Choice(["none", "kd", "ipkd", "ta-1", "ta-m"]),
    default=None,
    help="Learn from the original network (kd), or as sub-models from the largest, the next or all larger ones. [kd]",
)
@click.option("--distill-weight", type=float, default=None, help="Share of the teachers in the loss. [0.8, kd 0.9]")
@click.option("--temperature", type=float, default=None, help="Of the softened outputs. [2; exits 5, widths 1]")
@click.option("--augment", type=click.Choice(["auto", "none", "crop-flip"]), default=None, help="[auto]")
@click.option("--batch-norm", type=click.Choice(["keep", "re-estimate"]), default=None, help="After sharing. [keep]")
@click.option(
    "--side", type=click.Choice(["fp16", "exact"]), default=None, help="Precision of codebooks, vectors. [fp16]"
)
@prune_options
@click.option("--arch", default=None, help="Architecture of a plain state dict: lenet5, resnet20, ...")
@click.option("--num-classes", type=int, default=None, help="Default: from the checkpoint.")
@data_option
@click.option("--metric", default=None, help="Of ONNX models: accuracy, mse, cosine or module:function. [auto]")
@preprocessing_options
@click.option("--seed", type=int, default=None, help="[0]")
@device_option
@precision_option
@click.option("--config", "config_file", type=INPUT, default=None, help="TOML with any of these settings.")
@click.option("--report", type=OUTPUT, default=None, help="Write an HTML report too: report.html.")
@click.option("--snapshots", type=FOLDER, default=None, help="Folder for checkpoints of the fine-tuning's quarters.")
@click.option("--trust-pickle", is_flag=True, help="Run a pickle's own code: only for files whose author you trust.")
@reporting
def compress_command(
    checkpoint: Path,
    output: Path | None,
    config_file: Path | None,
    report: Path | None,
    snapshots: Path | None,
    trust_pickle: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Fine-tune (--reg), share the weights, tune the shared values, and write CHECKPOINT as a .qac file.

    \b
    qacomp compress model.pt --reg exp --k 8
    qacomp compress resnet20.th --arch resnet20 --data cifar10:DIR --reg exp --k 8,conv1=16
    qacomp compress model.safetensors --k 16            # weights only, no data
    """
    from qacomp.api import compress
    from qacomp.config import CompressConfig
    from qacomp.outputs import check_writable

    progress = make_progress(as_json)
    config = CompressConfig.from_toml(config_file) if config_file else CompressConfig()
    config = config.with_settings(_settings(flags, config), "command line")
    target = output or _default_output(checkpoint, progress)
    if report is not None:
        check_writable(report)
    with saying_what_is_kept(target):
        result = compress(
            checkpoint, None, config, target, snapshots=snapshots, progress=progress, trust_pickle=trust_pickle
        )
    if report is not None:
        result.report(report)
    if as_json:
        print_json(result.to_json())
    else:
        _show(result)


def _settings(flags: dict[str, Any], config: "CompressConfig") -> dict[str, Any]:
    """The flags that were given, as settings; several --k (or --bits, --strength) add up, later ones win."""
    settings = {name: value for name, value in flags.items() if value not in (None, ()) and name not in _BY_LAYER}
    for name in _BY_LAYER:
        merged = dict(getattr(config, f"{name}_layers"))
        for default, overrides in flags[name]:
            merged |= overrides
            if default is not None:
                settings[name] = default
        settings[f"{name}_layers"] = merged
    return settings


def _default_output(checkpoint: Path, progress: "Progress") -> Path:
    """Beside the checkpoint; in the current folder where that can't be written."""
    beside = checkpoint.with_suffix(".qac")
    if os.access(checkpoint.parent, os.W_OK):
        return beside
    progress.note(f"{checkpoint.parent} can't be written: the output goes to ./{beside.name}")
    return Path(beside.name)


def _show(result: "Result") -> None:
    rows = []
    for layer in result.layers:
        kind = "–" if layer.k is None else str(layer.k)
        shape = "×".join(map(str, layer.shape)) or "scalar"
        bits, entropy = figure(layer.bits_per_weight), figure(layer.entropy_bits_per_weight)
        if layer.k is not None:
            rows.append([layer.name[:60], shape, kind, layer.codec, count(layer.bytes), bits, entropy])
    kept = [layer for layer in result.layers if layer.k is None]
    if kept:
        rows.append([f"{len(kept)} other tensors", "", "–", "", count(sum(layer.bytes for layer in kept)), "", ""])
    print_table(rows, ["tensor", "shape", "K", "codec", "bytes", "bits/weight", "entropy"])
    click.echo(
        f"{result.output}: {result.container_bytes:,} bytes (graph {result.graph_bytes:,}), "
        f"{result.ratio:.1f}× smaller than {result.checkpoint_bytes:,} bytes of fp32"
    )
    if result.agreement is not None:
        click.echo(agreement_line(result.agreement.to_json()))
    if result.metric is not None and result.accuracy.original is None:
        click.echo(f"{result.metric.name}: original {result.metric.original:.6g}, decoded {result.metric.decoded:.6g}")
    a = result.accuracy
    if a.original is not None:
        click.echo(
            f"accuracy: original {figure(a.original)} %, shared {figure(a.shared)} %, "
            f"tuned {figure(a.tuned)} %, decoded {figure(a.decoded)} %"
        )
