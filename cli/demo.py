"""Run `qacomp demo`: train, compress and decode on scikit-learn's embedded digits, in about a minute, offline."""

from pathlib import Path

import click

from qacomp.cli.console import count, figure, print_json
from qacomp.cli.options import force_option, reporting
from qacomp.cli.progress import make_progress
from qacomp.cli.table import TableColumn, print_table

COLUMNS = (
    TableColumn("file", 0, text=True),
    TableColumn("bytes", 1),
    TableColumn("smaller", 3),
    TableColumn("test accuracy", 2),
    TableColumn("latency", 4),
)


@click.command("demo", short_help="Train, compress and decode LeNet-5 on embedded digits.")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for the three files.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of training and compression."
)
@force_option
@reporting
def demo_command(folder: Path, seed: int, force: bool, as_json: bool) -> None:
    """Write model.pt, model.qac and model.onnx into a folder and print their sizes, accuracy and latency."""
    from qacomp.api import compress
    from qacomp.checkpoints import read_checkpoint
    from qacomp.datasets import load_dataset
    from qacomp.errors import OutputNotWritableError
    from qacomp.exporting.decode import decode_file
    from qacomp.exporting.decoded_measuring import measure_decoded
    from qacomp.options.config import CompressConfig
    from qacomp.options.from_scratch import scratch_config
    from qacomp.options.method import MethodChoice
    from qacomp.outputs import Output, claim, container_outputs, resume_output
    from qacomp.runtime.latency import onnx_latency
    from qacomp.stages.from_scratch import train_network

    progress = make_progress(as_json)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritableError(f"{folder}: {error.strerror}; choose another folder with -o") from error
    checkpoint, container, onnx = (folder / f"model.{suffix}" for suffix in ("pt", "qac", "onnx"))
    written = [Output(checkpoint), resume_output(checkpoint), *container_outputs(container), Output(onnx)]
    claim(written, (), force=force)
    settings = {"arch": "lenet5", "data": "digits", "seed": seed}
    trained = train_network(scratch_config(settings), checkpoint, progress, force=force)
    config = CompressConfig(reg=MethodChoice("exp"), k=8, data="digits", seed=seed)
    result = compress(read_checkpoint(checkpoint), load_dataset("digits"), config, container, progress=progress)
    decoded = measure_decoded(decode_file(container, onnx))
    latency = decoded.latency or onnx_latency(onnx, (1, 28, 28))
    if as_json:
        print_json({"train": trained.to_json(), "compress": result.to_json(), "decode": decoded.to_json()})
        return
    a = result.accuracy
    rows = [
        [str(checkpoint), count(trained.bytes), "1.0×", f"original {figure(a.original)} %", ""],
        ["  shared, before tuning", "", "", f"shared {figure(a.shared)} %", ""],
        ["  shared, after tuning", "", "", f"tuned {figure(a.tuned)} %", ""],
        [
            str(container),
            count(result.container_bytes),
            f"{trained.bytes / result.container_bytes:.1f}×",
            f"decoded {figure(a.decoded)} %",
            "",
        ],
        [
            str(onnx),
            count(decoded.output_bytes),
            f"{trained.bytes / decoded.output_bytes:.1f}×",
            f"decoded {figure(decoded.accuracy)} %",
            f"{figure(latency.p50_ms, 3)} ms (p95 {figure(latency.p95_ms, 3)})",
        ],
    ]
    print_table(COLUMNS, rows, "LeNet-5 on digits, --reg exp --k 8")
