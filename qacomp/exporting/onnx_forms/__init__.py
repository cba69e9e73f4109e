"""Write the weights of ONNX models in other forms: look-up of shared values, and affine integers."""
