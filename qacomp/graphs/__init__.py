"""Read ONNX models: find every tensor, separate the graph from its tensors, and join the two again."""

from qacomp.graphs.reading import OnnxFile, parse_onnx, read_onnx

__all__ = ["OnnxFile", "parse_onnx", "read_onnx"]
