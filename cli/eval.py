"""`qacomp eval`: accuracy, size and latency of a container, an ONNX file or a checkpoint."""

from pathlib import Path

import click

from qacomp.cli.console import count, figure, make_progress, print_json, print_table
from qacomp.cli.options import INPUT, data_option, device_option, preprocessing_options, reporting


@click.command("eval", short_help="Accuracy, size and latency of a .qac, .onnx or checkpoint.")
@click.argument("file", type=INPUT)
@data_option
@click.option("--arch", default=None, help="Architecture of a plain state dict.")
@preprocessing_options
@device_option
@click.option("--trust-pickle", is_flag=True, help="Run a pickle's own code: only for files whose author you trust.")
@reporting
def eval_command(
    file: Path,
    data: str | None,
    arch: str | None,
    size: tuple[int, int] | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    device: str | None,
    trust_pickle: bool,
    as_json: bool,
) -> None:
    """Measure FILE on the test split of --data, or of the data that FILE names."""
    from qacomp.config import CompressConfig
    from qacomp.measuring import measure_file

    make_progress(as_json)
    config = CompressConfig(arch=arch, data=data, size=size, mean=mean, std=std, device=device or "auto")
    measured = measure_file(file, config, trust_pickle=trust_pickle)
    if as_json:
        print_json(measured.to_json())
        return
    latency = measured.latency
    print_table(
        [
            [
                str(file),
                measured.kind,
                count(measured.bytes),
                figure(measured.accuracy, 2, " %"),
                count(measured.samples),
                figure(latency.p50_ms if latency else None, 3, " ms"),
                figure(latency.p95_ms if latency else None, 3, " ms"),
            ]
        ],
        ["file", "kind", "bytes", "accuracy", "samples", "p50", "p95"],
    )
