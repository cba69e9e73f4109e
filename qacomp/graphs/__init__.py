"""Read ONNX models: find every tensor, separate the graph from its tensors, and join the two again."""
