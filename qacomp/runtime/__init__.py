"""Running an ONNX model, in a child process within limits, and comparing what it gives."""
