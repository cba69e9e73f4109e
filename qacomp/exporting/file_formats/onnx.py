"""Register the format ONNX: the network with its graph."""

from pathlib import Path

from qacomp.exporting.decoded import Decoded, DecodeOptions
from qacomp.exporting.output_formats import register_format
from qacomp.extras import naming_extra
from qacomp.formats import Container


@register_format("onnx")
def write(container: Container, output: Path, options: DecodeOptions) -> Decoded:
    """Write the network with its graph; see `qacomp.exporting.onnx_file`. Only here is the package onnx needed."""
    with naming_extra("decoding to .onnx (without a graph: .safetensors or .npz)"):
        from qacomp.exporting.onnx_file import write as write_onnx

        return write_onnx(container, output, options)
