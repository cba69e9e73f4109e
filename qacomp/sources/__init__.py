"""Sources, the models to compress: a torch network, an ONNX model or bare tensors, with the list of their weights."""
