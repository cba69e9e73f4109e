"""Decode containers to ONNX, .safetensors and other formats, and list their operating points."""
