"""Print how `decode --onnx lut|affine` stored each weight, and how the file compares with the dense one."""

from typing import TYPE_CHECKING

from qacomp.cli.console import count, figure
from qacomp.cli.streams import echo, shown_name
from qacomp.cli.table import TableColumn, print_table

if TYPE_CHECKING:
    from qacomp.exporting.onnx_options import WrittenOnnx

_COLUMNS = (
    TableColumn("weight", 0, text=True),
    TableColumn("shape", 5),
    TableColumn("form", 2, text=True),
    TableColumn("how", 4, text=True),
    TableColumn("bytes", 1),
    TableColumn("dense", 3),
)


def print_onnx(file: "WrittenOnnx") -> None:
    """Write a table of the weights, then lines that compare size, outputs and times with those of the dense file."""
    rows = [
        [
            shown_name(form.name),
            "×".join(map(str, form.shape)),
            form.form,
            form.detail,
            count(form.bytes),
            count(form.dense_bytes),
        ]
        for form in file.tensors
    ]
    if rows:
        print_table(_COLUMNS, rows)
    ratio = file.saved.bytes / file.dense_bytes
    echo(f"{file.mode}: {ratio:.1%} of the dense file's {count(file.dense_bytes)} bytes")
    if file.fused is not None:
        echo(f"matrix products that onnxruntime computes on the integer weights: {file.fused}")
    if file.saved.data_path is not None:
        echo(f"weights: {file.saved.data_path}")
    compared = file.comparison
    if compared is not None:
        echo(f"largest difference from the outputs of the dense file: {compared.max_abs_error:.3g}")
        if compared.max_abs_error_fp32 != compared.max_abs_error:
            echo(f"  with fp32 activations (accuracy level 0): {compared.max_abs_error_fp32:.3g}")
        times = [(compared.load_ms, compared.dense_load_ms, "load"), (compared.run_ms, compared.dense_run_ms, "run")]
        for own, dense, what in times:
            echo(f"{what}: {figure(own, 3)} ms, dense file {figure(dense, 3)} ms")
