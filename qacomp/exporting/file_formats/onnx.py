"""Register the format ONNX: the network with its graph."""

from qacomp.exporting.onnx_file import write
from qacomp.exporting.output_formats import register_format

register_format("onnx")(write)
