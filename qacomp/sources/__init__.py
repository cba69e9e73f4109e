"""What is compressed: a torch network, an ONNX model, or bare tensors, and which of its tensors are weights."""
