"""Run `qacomp compress`: compress a checkpoint to a container, and print its sizes and accuracy."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qacomp.cli.console import (
    agreement_line,
    count,
    figure,
    hold_to,
    print_json,
    print_operating_points,
    print_verdict,
)
from qacomp.cli.help_page import BriefOption
from qacomp.cli.interruption import saying_what_is_kept
from qacomp.cli.options import (
    FOLDER,
    INPUT,
    OUTPUT,
    force_option,
    reporting,
    strict_option,
    trust_option,
    workers_option,
)
from qacomp.cli.progress import make_progress
from qacomp.cli.ranks import is_first, is_shared
from qacomp.cli.request import taking
from qacomp.cli.settings import SettingsCommand, settings_given
from qacomp.cli.streams import complain, echo, shown_name
from qacomp.cli.table import TableColumn, print_table

if TYPE_CHECKING:
    from qacomp.progress import Progress
    from qacomp.result import Result

_MODELS = {".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt", ".onnx", ".jit", ".pt2", ".tar", ".json"}
"""Suffixes of models, which the name of an output for a URL leaves out; other dots belong to the name of a folder."""
_SCHEMA = "Print the JSON Schema of the --config file, for editors, and exit."
_COLUMNS = (
    TableColumn("tensor", 0, text=True),
    TableColumn("shape", 5),
    TableColumn("role", 8, text=True),
    TableColumn("K", 1),
    TableColumn("codec", 6, text=True),
    TableColumn("bytes", 2),
    TableColumn("bits/weight", 4),
    TableColumn("entropy", 7),
    TableColumn("error", 3),
)


@dataclass(frozen=True)
class CompressRequest:
    """The command line of `compress`; `settings` are the options that CompressConfig declares."""

    checkpoint: Path
    output: Path | None
    config_file: Path | None
    report: Path | None
    loss_fn: str | None
    snapshots: Path | None
    shard_size: str | None
    workers: str | None
    part: str | None
    base: Path | None
    strict: bool
    trust_pickle: bool
    force: bool
    as_json: bool
    settings: dict[str, Any]


def _print_schema(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from qacomp.options.config import CompressConfig
        from qacomp.options.schema import json_schema

        print_json(json_schema(CompressConfig))
        ctx.exit()


@click.command("compress", cls=SettingsCommand, short_help="Compress a checkpoint into a .qac file.")
@click.argument("checkpoint", type=INPUT)
@click.option(
    "-o",
    "--output",
    cls=BriefOption,
    type=OUTPUT,
    default=None,
    help="The container to write. Default: NAME.qac beside the checkpoint.",
    brief="File to write; otherwise NAME.qac beside the model",
)
@click.option(
    "--config",
    "config_file",
    cls=BriefOption,
    type=INPUT,
    default=None,
    metavar="FILE",
    help="TOML file with any of these settings; options on the command line override it.",
    brief="TOML file with settings; options override it",
)
@click.option(
    "--report",
    cls=BriefOption,
    type=OUTPUT,
    default=None,
    help="Also write an HTML report, such as report.html.",
    brief="Also write an HTML report, such as report.html",
)
@click.option(
    "--loss-fn",
    cls=BriefOption,
    default=None,
    metavar="NAME",
    help="Loss of training: cross-entropy, mse, or module:function of (outputs, targets). Default: by the targets.",
)
@click.option(
    "--snapshots",
    cls=BriefOption,
    type=FOLDER,
    default=None,
    help="Folder for four checkpoints during the fine-tuning.",
)
@click.option(
    "--shard-size",
    cls=BriefOption,
    default=None,
    metavar="SIZE",
    help="Write several .qac files of at most this size, such as 2GB, and NAME.qac.index.json, which is read like one.",
)
@workers_option
@click.option(
    "--part",
    cls=BriefOption,
    default=None,
    metavar="N/OF",
    help="Write only this part of a large model's tensors, such as 2/8; `qacomp merge` joins the parts.",
)
@click.option(
    "--base",
    cls=BriefOption,
    type=INPUT,
    default=None,
    metavar="FILE",
    help="Stay near this .qac file of an earlier version, so that `qacomp delta` between the two is small.",
)
@strict_option
@trust_option
@force_option
@click.option(
    "--schema",
    cls=BriefOption,
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help=_SCHEMA,
)
@reporting
@taking(CompressRequest)
def compress_command(asked: CompressRequest) -> None:
    """Share the weights, tune the shared values, and write CHECKPOINT as a .qac file.

    \b
    qacomp compress model.onnx                # the smallest file of good quality
    qacomp compress model.pt --target-size 100KB
    qacomp compress resnet20.th --arch resnet20 --data cifar10:DIR --reg exp --k 8
    """
    from qacomp.formats.shard_index import index_path
    from qacomp.options.config import CompressConfig
    from qacomp.remote.transfer import fetched, sent

    progress = make_progress(asked.as_json or not is_first())
    config = CompressConfig.from_toml(asked.config_file) if asked.config_file else CompressConfig()
    config = config.with_settings(settings_given(asked.settings, config), "command line")
    target = asked.output or _default_output(asked.checkpoint, progress)
    kept = target if asked.shard_size is None else index_path(target)
    with (
        saying_what_is_kept(kept),
        fetched(asked.checkpoint, progress) as checkpoint,
        sent(target, force=asked.force) as place,
    ):
        result = _compressed(replace(asked, checkpoint=checkpoint), config, place, progress)
    if asked.as_json:
        print_json(result.to_json() | ({} if place == target else {"output": str(target)}))
    else:
        _show(result if place == target else replace(result, output=target))
        print_verdict(result.verdict)
    hold_to(result.verdict, asked.strict, target)
    if result.missed:
        complain(f"qacomp: {result.missed}; {target} was written all the same")
        sys.exit(1)


def _compressed(asked: CompressRequest, config: Any, target: Path, progress: "Progress") -> "Result":
    """Compress a model of this machine to a file or files here, and write the report."""
    from qacomp.api import compress
    from qacomp.formats.shard_index import index_path
    from qacomp.outputs import Output, claim, container_outputs, snapshot_outputs
    from qacomp.ranks.joining import joined
    from qacomp.sources.input_files import command_files

    target = target if asked.shard_size is None else index_path(target)
    written = container_outputs(target) + ([] if asked.report is None else [Output(asked.report, "--report")])
    written += snapshot_outputs(asked.snapshots, written)
    files = command_files(
        [asked.checkpoint, asked.config_file, asked.base], [config.data, config.metric, asked.loss_fn]
    )
    with joined(is_shared(), cpu=config.device == "cpu") as ranks:
        if ranks.first:
            claim(written, files, force=asked.force)
        result = compress(
            asked.checkpoint,
            None,
            config,
            target,
            loss_fn=asked.loss_fn,
            snapshots=asked.snapshots,
            progress=progress,
            trust_pickle=asked.trust_pickle,
            force=asked.force,
            distributed=ranks.size > 1,
            shard_size=asked.shard_size,
            workers=asked.workers,
            part=asked.part,
            base=asked.base,
        )
    if asked.report is not None and ranks.first:
        result.report(asked.report, force=asked.force)
    return result


def _default_output(checkpoint: Path, progress: "Progress") -> Path:
    """Return NAME.qac beside the model, or in the current folder for a URL or where writing isn't allowed."""
    from qacomp.remote.urls import url_name, url_of

    if (url := url_of(checkpoint)) is not None:
        name = url_name(url)
        return Path(name).with_suffix(".qac") if Path(name).suffix in _MODELS else Path(f"{name.partition('@')[0]}.qac")
    if checkpoint.is_dir():
        checkpoint = Path(os.path.abspath(checkpoint))
        beside = checkpoint.parent / f"{checkpoint.name or 'model'}.qac"  # the name of a folder may have dots
    else:
        beside = checkpoint.with_suffix(".qac") if checkpoint.name else Path("model.qac")
    if os.access(checkpoint.parent, os.W_OK):
        return beside
    progress.note(f"the folder {checkpoint.parent} isn't writable, so the output is ./{beside.name}")
    return Path(beside.name)


def _show(result: "Result") -> None:
    from qacomp.tensors.name_roles import role_of

    rows = []
    bare = not result.graph_bytes  # with a graph the operators tell the role
    roles = {layer.name: (role_of(layer.name) or "" if bare else "") for layer in result.layers}
    for layer in result.layers:
        if layer.k is None:
            continue
        shape = "×".join(map(str, layer.shape)) or "scalar"
        bits, entropy = figure(layer.bits_per_weight), figure(layer.entropy_bits_per_weight)
        loss = figure(layer.error_db, 1, " dB" if layer.error_of != "weights" else " dB of weights")
        size = count(layer.bytes)
        rows.append(
            [shown_name(layer.name), shape, roles[layer.name], str(layer.k), layer.codec, size, bits, entropy, loss]
        )
    kept = [layer for layer in result.layers if layer.k is None]
    if kept:
        rows.append(
            [f"{len(kept)} other tensors", "", "", "–", "", count(sum(layer.bytes for layer in kept)), "", "", ""]
        )
    print_table(_COLUMNS, rows)
    print_operating_points(result.operating_points)
    same = result.checkpoint_bytes == result.source_bytes
    fp32 = "" if same else f", {result.fp32_ratio:.1f}× smaller than {result.checkpoint_bytes:,} bytes of fp32"
    echo(
        f"{result.output}: {result.container_bytes:,} bytes (graph {result.graph_bytes:,}), "
        f"{result.ratio:.1f}× smaller than the source's {result.source_bytes:,} bytes{fp32}"
    )
    if result.agreement is not None:
        echo(agreement_line(result.agreement.to_json()))
    if result.metric is not None and result.accuracy.original is None:
        echo(f"{result.metric.name}: original {result.metric.original:.6g}, decoded {result.metric.decoded:.6g}")
    a = result.accuracy
    if a.original is not None:
        trained = "" if a.fine_tuned is None else f"fine-tuned {figure(a.fine_tuned)} %, "
        echo(
            f"accuracy: original {figure(a.original)} %, {trained}shared {figure(a.shared)} %, "
            f"tuned {figure(a.tuned)} %, decoded {figure(a.decoded)} %"
        )
