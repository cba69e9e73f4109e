"""ONNX models as they come in: every tensor found and read, the graph apart from them, and the two joined again."""

from qacomp.graphs.reading import OnnxFile, parse_onnx, read_onnx

__all__ = ["OnnxFile", "parse_onnx", "read_onnx"]
