"""Write a container's network as an .onnx file: a network in its exported graph, an ONNX model in its original graph.

Weights are dense or in another form (look-up, affine integers). Doesn't need torch.
"""

from pathlib import Path

from qacomp.exporting.decoded import Decoded, DecodeOptions
from qacomp.exporting.onnx_model import is_original, onnx_model
from qacomp.exporting.onnx_options import DENSE, OnnxOptions, WrittenOnnx
from qacomp.exporting.operating_points import agreement_at, verdict_at, weights_at
from qacomp.exporting.part import Part, level_of
from qacomp.formats import Container


def write(container: Container, output: Path, options: DecodeOptions) -> Decoded:
    """Write the chosen part of the container to `output`, and return a Decoded with the largest error of the weights.

    Raises FormatError for a damaged container, ConfigError if it has no graph or no such part, ExportError if
    onnxruntime can't compute the written weights, and OutputNotWritableError.
    """
    part, stored = options.part, Path(container.source)
    level, original = level_of(container, part), is_original(container)
    if original:
        size, error, made = _write_original(container, output, level, options.onnx)
    else:
        made = _write_network(container, output, part, options.onnx)
        size, error = made.saved.bytes, made.max_abs_error
    return Decoded(
        stored,
        part,
        output,
        size,
        container.available,
        error,
        made.notes if made is not None else (),
        made,
        agreement_at(container, level) if original else None,
        verdict_at(container, level) if original or part.submodel is None else None,
    )


def write_dense(container: Container, output: Path, part: Part) -> int:
    """Write the network with dense weights, for comparisons, and return the bytes of its files."""
    level = level_of(container, part)
    if is_original(container):
        from qacomp.exporting.original_onnx import write_original

        return sum(file.stat().st_size for file in write_original(container, output, level))
    from qacomp.exporting.onnx_forms.saving import save_onnx

    return save_onnx(output, onnx_model(container, level, part.submodel)).bytes


def _write_network(container: Container, output: Path, part: Part, options: OnnxOptions) -> WrittenOnnx:
    """Write a network in its exported graph, and verify the weights."""
    from qacomp.exporting.onnx_output import write_onnx_file

    level = level_of(container, part)
    model = onnx_model(container, level, part.submodel)
    weights = weights_at(container, level, {t.name: tuple(t.dims) for t in model.graph.initializer})
    return write_onnx_file(model, weights, output, options)


def _write_original(
    container: Container, output: Path, level: int | None, options: OnnxOptions
) -> tuple[int, float, WrittenOnnx | None]:
    """Write the original ONNX model with the container's values: (bytes, largest error, details if not dense)."""
    if options != DENSE:
        from qacomp.exporting.original_forms import write_converted

        made = write_converted(container, output, level, options)
        return made.saved.bytes, made.max_abs_error, made
    from qacomp.exporting.original_onnx import read_back_error, write_original

    files = write_original(container, output, level)
    return sum(file.stat().st_size for file in files), read_back_error(container, output, level), None
