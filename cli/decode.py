"""Run `qacomp decode`: decode a container to ONNX, safetensors or npz, and measure the result."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qacomp.cli.console import agreement_line, figure, hold_to, print_json, print_verdict
from qacomp.cli.help_page import BriefOption
from qacomp.cli.onnx_forms import print_onnx
from qacomp.cli.options import ANY_OUTPUT, INPUT, force_option, reporting, run_limits, strict_option, workers_option
from qacomp.cli.progress import make_progress
from qacomp.cli.request import taking
from qacomp.cli.settings import SettingsCommand
from qacomp.cli.streams import echo

if TYPE_CHECKING:
    from qacomp.exporting.decoded import Decoded


@dataclass(frozen=True)
class DecodeRequest:
    """The command line of `decode`; settings: the values of data and run_limits."""

    container: Path
    output: Path | None
    level: int | None
    submodel: str | None
    allow_truncated: bool
    mode: str
    affine_bits: str | None
    affine_block: int
    external_data: bool
    c_folder: Path | None
    workers: str | None
    no_measure: bool
    strict: bool
    force: bool
    as_json: bool
    settings: dict[str, Any]


@click.command(
    "decode",
    cls=SettingsCommand,
    settings=("data", "run_limits"),
    basic=("data",),
    short_help="Decode a .qac file to ONNX; measure accuracy and latency.",
)
@click.argument("container", type=INPUT)
@click.option(
    "-o",
    "--output",
    type=ANY_OUTPUT,
    default=None,
    help="NAME.onnx, NAME.safetensors, NAME.npz, or FOLDER if one was compressed. Default: beside CONTAINER.",
)
@click.option(
    "--level",
    type=int,
    default=None,
    help="Level of a progressive file: its number of shared values, or 1, 2, ... for --target-size 50KB,100KB.",
)
@click.option("--submodel", default=None, help="One network of a file with several: exit3, width0.5, level4.")
@click.option(
    "--allow-truncated",
    cls=BriefOption,
    is_flag=True,
    help="Accept a file that is cut off after a level, and decode that level.",
)
@click.option(
    "--onnx",
    "mode",
    type=click.Choice(["dense", "lut", "affine"]),
    default="dense",
    help="Form of weights in ONNX: dense; lut (codebooks and indices); affine (int2/4/8 in matrix products).",
)
@click.option(
    "--affine-bits",
    cls=BriefOption,
    type=click.Choice(["2", "4", "8"]),
    default=None,
    help="Bits of --onnx affine. Default: as few as each K needs.",
)
@click.option(
    "--affine-block",
    cls=BriefOption,
    type=int,
    default=32,
    help="Group size of --onnx affine: weights of a column that share a scale. [32]",
)
@click.option(
    "--external-data",
    cls=BriefOption,
    is_flag=True,
    help="Write weights to NAME.onnx.data. Models of 2 GB or more always do.",
)
@click.option(
    "--c",
    "c_folder",
    cls=BriefOption,
    type=ANY_OUTPUT,
    default=None,
    help="Instead of a model, write a FOLDER of C sources that hold CONTAINER and decode it on a device.",
)
@workers_option
@click.option("--no-measure", is_flag=True, help="Only decode; don't measure accuracy and latency.")
@strict_option
@force_option
@reporting
@taking(DecodeRequest)
def decode_command(asked: DecodeRequest) -> None:
    """Decode CONTAINER and measure the result with onnxruntime. Doesn't need torch."""
    from qacomp.exporting.decode import claim_decoded, decode_file, default_output
    from qacomp.exporting.onnx_options import OnnxOptions
    from qacomp.exporting.part import Part
    from qacomp.remote.transfer import sent
    from qacomp.runtime.limits import limited_runs
    from qacomp.sources.input_files import data_files
    from qacomp.workers.choice import workers_of

    if asked.c_folder is not None:
        _write_c(asked, asked.c_folder)
        return
    progress = make_progress(asked.as_json)
    data = asked.settings["data"]
    target = asked.output or default_output(asked.container, allow_truncated=asked.allow_truncated)
    bits = int(asked.affine_bits) if asked.affine_bits else None
    onnx = OnnxOptions(asked.mode, bits, asked.affine_block, asked.external_data)
    with sent(target, force=asked.force) as place, limited_runs(run_limits(asked.settings)):
        claim_decoded([asked.container, *data_files(data)], place, onnx, "-o", force=asked.force)
        part = Part(asked.level, asked.submodel, asked.allow_truncated)
        workers = workers_of(asked.workers)
        done = decode_file(asked.container, place, part=part, onnx=onnx, workers=workers, progress=progress)
        if not asked.no_measure and target.suffix == ".onnx":
            from qacomp.exporting.decoded_measuring import measure_decoded

            done = measure_decoded(done, data)
    done = replace(done, output=target)
    for note in done.notes:
        progress.note(note)
    if asked.as_json:
        print_json(done.to_json())
    else:
        _show(done)
    if done.verdict is not None:
        hold_to(done.verdict, asked.strict, done.output)


def _write_c(asked: DecodeRequest, folder: Path) -> None:
    """Write the folder of C sources, and print what the device needs."""
    from qacomp.exporting.c_folder import write_c_folder

    whole = (asked.output, asked.level, asked.submodel, asked.affine_bits) == (None,) * 4 and asked.mode == "dense"
    if not whole or asked.external_data or asked.allow_truncated:
        raise click.UsageError(
            "--c takes the whole container, at all levels: leave out -o and what chooses parts or forms"
        )
    done = write_c_folder(asked.container, folder, force=asked.force)
    if asked.as_json:
        print_json(done.to_json())
        return
    echo(f"{done.output}: {', '.join(done.files)}; the container takes {done.container_bytes:,} bytes of flash")
    arena = (
        f"{done.arena_bytes:,}" if done.arena_bytes is not None else "not measured, since there is no C compiler here"
    )
    echo(f"memory: {done.largest_tensor_bytes:,} bytes for the largest tensor; of the arena: {arena}")


def _show(done: "Decoded") -> None:
    echo(f"{done.output}: {done.output_bytes:,} bytes from {done.container_bytes:,}")
    if done.onnx is not None and done.onnx.mode != "dense":
        print_onnx(done.onnx)
    if done.agreement is not None:
        echo(f"{agreement_line(done.agreement)} (measured when the file was compressed)")
    if done.metric is not None and done.accuracy is None:
        echo(f"{done.metric['name']}: {done.metric['value']:.6g}")
    if done.accuracy is not None:
        precise = f", with fp32 activations {figure(done.accuracy_fp32)} %" if done.accuracy_fp32 is not None else ""
        echo(f"accuracy: {figure(done.accuracy)} %{precise}")
    if done.latency is not None:
        echo(f"latency: {figure(done.latency.p50_ms, 3)} ms median, {figure(done.latency.p95_ms, 3)} ms p95")
    if done.verdict is not None:
        print_verdict(done.verdict, "" if done.judged_now else "as the file states it")
