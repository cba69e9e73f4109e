"""Register the format safetensors: the weights with their state-dict names."""

from qacomp.exporting.output_formats import register_format
from qacomp.exporting.safetensors_file import write

register_format("safetensors")(write)
