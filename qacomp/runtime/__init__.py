"""Run ONNX models in a child process, within limits of time and memory, and compare their outputs."""
