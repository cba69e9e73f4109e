"""onnx_export."""
