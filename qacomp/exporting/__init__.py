"""Out of a container: ONNX, .safetensors, operating points."""
