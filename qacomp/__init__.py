"""Post-training model compression: regularize, share, entropy-code, decode to ONNX."""

__version__ = "0.1.0"
